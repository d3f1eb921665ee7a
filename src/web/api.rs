//! The API on the console's listener: the desk over HTTP, as JSON. Behind the console's token, where there is one.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::answer;
use super::desk::{self, Desk, NotReplayed};
use super::shown::{
    Asked, ConversationShown, DeliveryShown, EventShown, MOST_ROWS, ReplayShown, TallyShown,
};
use crate::model::{Conversation, DeliveryId};
use crate::outbox::{Change, Changed, Filter, OutboxError, Page};

/// Rows of an answer that asks for no number.
const ROWS: usize = 100;

/// The API's routes.
pub fn router(desk: Desk) -> Router {
    Router::new()
        .route("/api/events", get(list_events))
        .route("/api/events/{number}", get(show_event))
        .route("/api/events/{number}/replay", post(replay))
        .route("/api/deliveries", get(list_deliveries))
        .route("/api/deliveries/retry", post(retry_all))
        .route("/api/deliveries/cancel", post(cancel_all))
        .route("/api/deliveries/{id}", get(show_delivery))
        .route("/api/deliveries/{id}/retry", post(retry))
        .route("/api/deliveries/{id}/cancel", post(cancel))
        .route("/api/conversations", get(list_conversations))
        .route("/api/conversations/{conversation}/hold", post(hold))
        .route("/api/conversations/{conversation}/release", post(release))
        .with_state(desk)
}

/// Why a call gives nothing.
enum Unserved {
    /// The words of the call are wrong.
    Asked(String),
    /// There is no such thing.
    NotFound(&'static str),
    /// The outbox does not answer.
    Outbox(OutboxError),
    /// An event cannot be replayed.
    NotReplayed(NotReplayed),
}

impl From<OutboxError> for Unserved {
    fn from(error: OutboxError) -> Unserved {
        Unserved::Outbox(error)
    }
}

impl From<QueryRejection> for Unserved {
    fn from(rejection: QueryRejection) -> Unserved {
        Unserved::Asked(rejection.body_text())
    }
}

impl IntoResponse for Unserved {
    fn into_response(self) -> Response {
        match self {
            Unserved::Asked(why) => answer::says(StatusCode::BAD_REQUEST, &why),
            Unserved::NotFound(what) => answer::says(StatusCode::NOT_FOUND, what),
            Unserved::Outbox(error) => {
                answer::says(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
            }
            Unserved::NotReplayed(NotReplayed::Unknown(number)) => answer::says(
                StatusCode::NOT_FOUND,
                &NotReplayed::Unknown(number).to_string(),
            ),
            Unserved::NotReplayed(NotReplayed::Outbox(error)) => {
                answer::says(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
            }
            Unserved::NotReplayed(why) => answer::says(StatusCode::CONFLICT, &why.to_string()),
        }
    }
}

/// The query of a call, or what is wrong with it.
type Words = Result<Query<Asked>, QueryRejection>;

impl Desk {
    fn filter(&self, asked: &Asked) -> Result<Filter, Unserved> {
        asked.filter(self.clock.now()).map_err(Unserved::Asked)
    }
}

fn page(asked: &Asked) -> Result<Page, Unserved> {
    let most = asked.limit.unwrap_or(ROWS);
    match (1..=MOST_ROWS).contains(&most) {
        true => Ok(Page {
            after: asked.after,
            most,
            oldest_first: false,
        }),
        false => Err(Unserved::Asked(format!(
            "`limit` is from 1 to {MOST_ROWS}, not {most}"
        ))),
    }
}

async fn list_events(State(desk): State<Desk>, words: Words) -> Result<Response, Unserved> {
    let Query(asked) = words?;
    let page = page(&asked)?;
    let rows = desk.outbox.list_events(desk.filter(&asked)?, page).await?;
    let next = rows.last().filter(|_| rows.len() == page.most);
    let next = next.map(|row| row.number);
    let events: Vec<_> = rows.iter().map(EventShown::row).collect();
    Ok(Json(json!({ "events": events, "next": next })).into_response())
}

fn no_number(_: PathRejection) -> Unserved {
    Unserved::Asked("an event is named by its number".to_owned())
}

async fn show_event(
    State(desk): State<Desk>,
    number: Result<Path<i64>, PathRejection>,
) -> Result<Response, Unserved> {
    let Path(number) = number.map_err(no_number)?;
    let found = desk.outbox.find_event(number).await?;
    let record = found.ok_or(Unserved::NotFound("there is no such event"))?;
    Ok(Json(EventShown::whole(&record)).into_response())
}

/// How an event is replayed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Replay {
    /// Only say what would change.
    dry_run: bool,
    /// Also to conversations that have the message.
    again: bool,
}

async fn replay(
    State(desk): State<Desk>,
    number: Result<Path<i64>, PathRejection>,
    words: Result<Query<Replay>, QueryRejection>,
) -> Result<Response, Unserved> {
    let Path(number) = number.map_err(no_number)?;
    let Query(how) = words?;
    let (book, now) = (desk.book.load_full(), desk.clock.now());
    let replayed = desk::look_at_replay(&*desk.outbox, &book, number, how.again, now)
        .await
        .map_err(Unserved::NotReplayed)?;
    let mut shown = ReplayShown::of(&replayed, None);
    if !how.dry_run {
        let made = desk::keep_replay(&*desk.outbox, replayed)
            .await
            .map_err(Unserved::NotReplayed)?;
        shown.made = Some(made);
    }
    Ok(Json(shown).into_response())
}

async fn list_deliveries(State(desk): State<Desk>, words: Words) -> Result<Response, Unserved> {
    let Query(asked) = words?;
    let (filter, page) = (desk.filter(&asked)?, page(&asked)?);
    let rows = desk.outbox.list_deliveries(filter, page).await?;
    let next = rows.last().filter(|_| rows.len() == page.most);
    let next = next.map(|row| row.number);
    let deliveries: Vec<_> = rows.iter().map(DeliveryShown::of).collect();
    Ok(Json(json!({ "deliveries": deliveries, "next": next })).into_response())
}

/// A delivery by its id, or by its number in the lists.
async fn find(desk: &Desk, id: &str) -> Result<crate::outbox::DeliveryRecord, Unserved> {
    let found = match (id.parse::<DeliveryId>(), id.parse::<i64>()) {
        (Ok(id), _) => desk.outbox.find_delivery(id).await?,
        (_, Ok(number)) => desk::find_by_number(&*desk.outbox, number).await?,
        _ => None,
    };
    found.ok_or(Unserved::NotFound("there is no such delivery"))
}

async fn show_delivery(
    State(desk): State<Desk>,
    Path(id): Path<String>,
) -> Result<Response, Unserved> {
    Ok(Json(DeliveryShown::of(&find(&desk, &id).await?)).into_response())
}

async fn retry(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Unserved> {
    change(&desk, &id, Change::Retry).await
}

async fn cancel(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Unserved> {
    change(&desk, &id, Change::Cancel).await
}

async fn change(desk: &Desk, id: &str, change: Change) -> Result<Response, Unserved> {
    let record = find(desk, id).await?;
    let changed = desk.outbox.change(vec![record.id], change).await?;
    match changed.first() {
        Some(Changed::Done) => Ok(Json(DeliveryShown::of(&find(desk, id).await?)).into_response()),
        Some(Changed::Not(state)) => Ok(answer::says(
            StatusCode::CONFLICT,
            &format!("it is {}", state.word()),
        )),
        Some(Changed::Unknown) | None => Err(Unserved::NotFound("there is no such delivery")),
    }
}

async fn retry_all(State(desk): State<Desk>, words: Words) -> Result<Response, Unserved> {
    let Query(asked) = words?;
    change_all(&desk, &asked, Change::Retry).await
}

async fn cancel_all(State(desk): State<Desk>, words: Words) -> Result<Response, Unserved> {
    let Query(asked) = words?;
    change_all(&desk, &asked, Change::Cancel).await
}

/// A filter must be there: nobody means all that ever was by leaving it out.
async fn change_all(desk: &Desk, asked: &Asked, change: Change) -> Result<Response, Unserved> {
    let filter = desk.filter(asked)?;
    let narrowed = Filter {
        unrouted: false, // it says nothing of deliveries
        ..filter.clone()
    };
    if narrowed == Filter::default() {
        return Err(Unserved::Asked(
            "say which: a filter such as `?state=refused&since=2h` is needed".to_owned(),
        ));
    }
    let tally = desk::change_all(&*desk.outbox, &filter, change, |_| true).await?;
    Ok(Json(TallyShown::of(&tally)).into_response())
}

async fn list_conversations(State(desk): State<Desk>, words: Words) -> Result<Response, Unserved> {
    let Query(asked) = words?;
    let page = page(&asked)?;
    let lane = asked.to.as_deref().map(conversation).transpose()?;
    let lane = lane.map(|conversation| conversation.lane());
    let rows = desk.outbox.list_lanes(lane, page).await?;
    let next = rows.last().filter(|_| rows.len() == page.most);
    let next = next.map(|row| row.number);
    let conversations: Vec<_> = rows.iter().map(ConversationShown::of).collect();
    Ok(Json(json!({ "conversations": conversations, "next": next })).into_response())
}

fn conversation(text: &str) -> Result<Conversation, Unserved> {
    text.parse()
        .map_err(|error: crate::model::NotAConversation| Unserved::Asked(error.to_string()))
}

/// Why a conversation is held.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Why {
    why: Option<String>,
}

async fn hold(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    words: Result<Query<Why>, QueryRejection>,
) -> Result<Response, Unserved> {
    let Query(Why { why }) = words?;
    let why = why.unwrap_or_else(|| "by an operator".to_owned());
    set_hold(&desk, &name, Some(why)).await
}

async fn release(State(desk): State<Desk>, Path(name): Path<String>) -> Result<Response, Unserved> {
    set_hold(&desk, &name, None).await
}

async fn set_hold(desk: &Desk, name: &str, why: Option<String>) -> Result<Response, Unserved> {
    let lane = conversation(name)?.lane();
    if !desk.outbox.hold(lane.clone(), why).await? {
        return Err(Unserved::NotFound(
            "nothing was ever sent into this conversation",
        ));
    }
    let page = Page {
        after: None,
        most: 1,
        oldest_first: true,
    };
    let rows = desk.outbox.list_lanes(Some(lane), page).await?;
    Ok(Json(rows.first().map(ConversationShown::of)).into_response())
}
