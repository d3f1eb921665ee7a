//! Requests that come again.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_request_is_no_event_again_as_long_as_its_time_holds() {
    let mut door = Entrance::open(&[("timed", TIMED)], "");
    let body = r#"{"title":"the disk is full"}"#;
    assert_eq!(timed(&door, START, body).await, StatusCode::ACCEPTED);
    // The sender did not hear the answer, and signs anew.
    door.pull(20);
    assert_eq!(timed(&door, START + 20, body).await, StatusCode::OK);
    // Its reminder is news.
    door.pull(100);
    assert_eq!(timed(&door, START + 120, body).await, StatusCode::ACCEPTED);

    // A copy of the first is not, and neither is it after a restart.
    assert_eq!(timed(&door, START, body).await, StatusCode::OK);
    door.close().await;
    door.start();
    door.pull(180);
    assert_eq!(timed(&door, START, body).await, StatusCode::OK);
    assert_eq!(timed(&door, START + 120, body).await, StatusCode::OK);
    door.pull(1);
    assert_eq!(timed(&door, START, body).await, StatusCode::UNAUTHORIZED);
    assert_eq!(door.events().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_id_is_no_event_again_however_late() {
    let door = Entrance::open(&[("one", TOKEN)], "");
    let status = async || door.knock("one", "192.0.2.1", SECRET, "a").await.status();
    assert_eq!(status().await, StatusCode::ACCEPTED);
    door.pull(7 * 24 * 3600);
    assert_eq!(status().await, StatusCode::OK);
    assert_eq!(door.events().await, 1);
}
