//! One listening address: patience with slow senders, and a stop that lets requests in flight finish.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use tokio::task::JoinHandle;

/// How long a sender may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the head of a request, and for the first byte of a new connection.
    pub head: Duration,
    /// For the whole body.
    pub body: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
        }
    }
}

/// A running listener.
#[derive(Debug)]
pub struct Listener {
    /// The address it listens on, with the real port.
    pub address: SocketAddr,
    handle: Handle<SocketAddr>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Listener {
    /// Serves `router` on a bound socket.
    pub fn start(
        socket: TcpListener,
        router: Router,
        patience: Patience,
    ) -> std::io::Result<Listener> {
        let address = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(socket)?
            .handle(handle.clone())
            .http1_only()
            .first_request_timeout(patience.head);
        server
            .http_builder()
            .http1()
            .header_read_timeout(patience.head);
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(server.serve(service));
        Ok(Listener {
            address,
            handle,
            task,
        })
    }

    /// Takes no new connection, lets requests in flight finish for at most `grace`, then closes.
    pub async fn stop(self, grace: Duration) {
        self.handle.graceful_shutdown(Some(grace));
        let _ = self.task.await;
    }
}
