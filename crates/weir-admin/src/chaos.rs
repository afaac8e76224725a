//! Chaos on demand: what a target group does wrong is put and deleted below the group.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use weir_control::Handle;
use weir_core::chaos::Chaos;
use weir_core::name::GroupName;

/// Longest time of any kind.
const TIME_MAX: Duration = Duration::from_secs(3600);

/// Shortest time for which a target may flap.
const FLAP_MIN: Duration = Duration::from_millis(100);

/// What a group shall do wrong, times in seconds. What is not said it does right.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default)]
    deregister_late: f64,
    #[serde(default)]
    delay_health: f64,
    #[serde(default)]
    flap: f64,
    lose_zone: Option<String>,
}

impl Wanted {
    fn chaos(self) -> Result<Chaos, String> {
        let flap = time("flap", self.flap)?;
        if !flap.is_zero() && flap < FLAP_MIN {
            return Err(format!("flap is {}; write {} seconds or more", self.flap, FLAP_MIN.as_secs_f32()));
        }
        Ok(Chaos {
            deregister_late: time("deregister_late", self.deregister_late)?,
            delay_health: time("delay_health", self.delay_health)?,
            flap: (!flap.is_zero()).then_some(flap),
            lose_zone: self.lose_zone,
        })
    }
}

fn time(name: &str, seconds: f64) -> Result<Duration, String> {
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= TIME_MAX);
    time.ok_or_else(|| format!("{name} is {seconds}; write 0 to {} seconds", TIME_MAX.as_secs()))
}

/// `PUT …/chaos`: in place of what the group did wrong before.
pub(crate) async fn misbehave(
    State(handle): State<Handle>,
    Path(group): Path<String>,
    Json(wanted): Json<Wanted>,
) -> Response {
    match wanted.chaos() {
        Ok(chaos) => change(&handle, &group, chaos).await,
        Err(problem) => (StatusCode::UNPROCESSABLE_ENTITY, problem + "\n").into_response(),
    }
}

/// `DELETE …/chaos`: the group does everything right again.
pub(crate) async fn behave(State(handle): State<Handle>, Path(group): Path<String>) -> Response {
    change(&handle, &group, Chaos::default()).await
}

async fn change(handle: &Handle, group: &str, chaos: Chaos) -> Response {
    let said = format!("{group}: {chaos}\n");
    let changed = match GroupName::parse(group) {
        Ok(name) => handle.misbehave(name, chaos).await,
        Err(error) => Err(format!("target group {group:?} {error}")),
    };
    match changed {
        Ok(()) => said.into_response(),
        Err(problem) => (StatusCode::NOT_FOUND, problem + "\n").into_response(),
    }
}
