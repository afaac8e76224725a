//! The admin port: `/healthz`, `/readyz`, `/metrics`, `/api/v1`, and a page for people.
//!
//! It reads what the control side publishes and asks it for changes through its handle; nothing here can slow a
//! worker. On loopback it trusts whoever can reach it, but not every web page that such a person's browser shows:
//! `Host` and `Origin` are checked.
//!
//! What this crate lacks, on purpose: listener crates, a writer.

mod chaos;
mod comparison;
mod explain;
mod guard;
mod page;
mod view;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware};
use chaos::{behave, misbehave};
use tokio::net::TcpListener;
use weir_control::Handle;

pub use comparison::{ArmView, ComparisonView, DifferenceView, StoppedView};
pub use explain::{Explained, Question};
pub use view::{GroupView, ListenerView, TargetView, View};

/// Serves the admin port until `end` completes, and then what has been asked already.
///
/// # Errors
/// When the kernel takes the listening socket away.
pub async fn serve(
    listener: TcpListener,
    handle: Handle,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(handle)).with_graceful_shutdown(end).await
}

fn router(handle: Handle) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1", get(view))
        .route(
            "/api/v1/load_balancers",
            get(async |state: State<Handle>| Json(View::of(&state.0).load_balancers)),
        )
        .route(
            "/api/v1/target_groups",
            get(async |state: State<Handle>| Json(View::of(&state.0).target_groups)),
        )
        .route("/api/v1/comparisons", get(async |state: State<Handle>| Json(View::of(&state.0).comparisons)))
        .route("/api/v1/events", get(async |state: State<Handle>| Json(View::of(&state.0).events)))
        .route("/api/v1/explain", post(explain::answer))
        .route("/api/v1/identity_keys", get(identity_keys))
        .route("/api/v1/identity_keys/{id}", get(identity_key))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/target_groups/{group}/chaos", put(misbehave).delete(behave))
        .layer(middleware::from_fn(guard::refuse_strange_origins))
        .with_state(handle)
}

async fn page(State(handle): State<Handle>) -> Html<String> {
    Html(page::render(&View::of(&handle)).into_string())
}

async fn readyz(State(handle): State<Handle>) -> Response {
    if handle.readiness.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting, waiting for discovery, or ending\n")
            .into_response()
    }
}

async fn metrics(State(handle): State<Handle>) -> Response {
    const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, TYPE)], handle.telemetry.render(&handle.snapshot())).into_response()
}

async fn view(State(handle): State<Handle>) -> Json<View> {
    Json(View::of(&handle))
}

/// The ids of the keys that targets check with what they are told of who has logged in.
async fn identity_keys(State(handle): State<Handle>) -> Json<Vec<String>> {
    Json(handle.tls.secrets().key_ids())
}

/// One of those keys, in PEM.
async fn identity_key(State(handle): State<Handle>, Path(id): Path<String>) -> Response {
    match handle.tls.secrets().public_key(&id) {
        Some(pem) => ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// What came of a reload, as JSON.
#[derive(Debug, serde::Serialize)]
struct Outcome {
    generation: Option<u64>,
    opened: Vec<String>,
    closed: Vec<String>,
    warnings: Vec<String>,
    refused: Option<String>,
}

async fn reload(State(handle): State<Handle>) -> Response {
    match handle.reload().await {
        Ok(done) => Json(Outcome {
            generation: Some(done.generation),
            opened: done.opened,
            closed: done.closed,
            warnings: done.warnings,
            refused: None,
        })
        .into_response(),
        Err(problem) => {
            let outcome = Outcome {
                generation: None,
                opened: Vec::new(),
                closed: Vec::new(),
                warnings: Vec::new(),
                refused: Some(problem),
            };
            (StatusCode::UNPROCESSABLE_ENTITY, Json(outcome)).into_response()
        }
    }
}
