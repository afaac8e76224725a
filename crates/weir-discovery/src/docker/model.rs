//! The model of an engine's containers: what events do to it, without an engine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, EventMessage};
use tokio::time::Instant;
use weir_core::task::{Task, TaskState};

use super::container::{Container, SIGKILL, signal_number};
use crate::elements::Mistake;

/// How much longer than its stop timeout a container may take before it is thought to have survived its stop signal.
const SURVIVAL_MARGIN: Duration = Duration::from_secs(5);

/// What is said of a container whose health check turned out well; when it did not, the container's own words count.
const HEALTH_CHECK_PASSES: &str = "the engine's health check passes";

/// The running containers of one engine.
#[derive(Debug)]
pub(super) struct Model {
    host: IpAddr,
    containers: BTreeMap<String, Followed>,
}

#[derive(Debug)]
struct Followed {
    container: Container,
    /// Told to stop, and when it is thought to have survived that.
    stopping: Option<(Instant, String)>,
}

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: String,
    action: String,
    signal: Option<u32>,
}

/// What an event came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The set is another one now.
    Changed,
    /// The container must be looked at before the set is known.
    Inspect { id: String, cause: String },
    /// Nothing that matters.
    Nothing,
}

impl Event {
    pub(super) fn read(message: &EventMessage) -> Option<Self> {
        let actor = message.actor.as_ref()?;
        let signal = actor.attributes.as_ref().and_then(|attributes| attributes.get("signal"));
        Some(Self {
            id: actor.id.clone()?,
            action: message.action.clone()?,
            signal: signal.and_then(|signal| signal_number(signal)),
        })
    }
}

impl Followed {
    /// A container as it is now, with what is remembered of it if this is still the same start.
    fn after(before: Option<Self>, mut container: Container) -> Self {
        let Some(before) = before.filter(|before| before.container.is_same_start(&container)) else {
            return Self { container, stopping: None };
        };
        if let (Ok(task), Ok(known)) = (&mut container.task, before.container.task)
            && task.state == TaskState::Starting
            && matches!(known.state, TaskState::Running | TaskState::Failing)
        {
            // Nobody goes back to `starting` in one start: an engine that was restarted beneath running containers may
            // have begun its checks anew.
            task.state = known.state;
            task.cause = known.cause;
        }
        Self { container, stopping: before.stopping }
    }
}

impl Model {
    pub(super) fn new(host: IpAddr) -> Self {
        Self { host, containers: BTreeMap::new() }
    }

    /// Takes in one event.
    pub(super) fn apply(&mut self, event: &Event, now: Instant) -> Effect {
        let inspect = |cause: &str| Effect::Inspect { id: event.id.clone(), cause: cause.to_owned() };
        // Engines write `health_status: unhealthy`, and have changed their mind about what follows the colon.
        if event.action.starts_with("health_status") {
            return inspect(HEALTH_CHECK_PASSES);
        }
        match event.action.as_str() {
            // An `oom` ends a process of the container, and the container only if that was its first: `die` says so.
            action @ ("start" | "unpause" | "pause" | "rename" | "update" | "oom") => inspect(action),
            "die" | "destroy" if self.containers.remove(&event.id).is_some() => Effect::Changed,
            // It may be in the list that is being made.
            "die" => inspect("die"),
            "kill" => self.kill(event, now),
            _ => Effect::Nothing,
        }
    }

    /// A signal was sent. Only the container's own stop signal, or one that cannot be ignored, means that it leaves.
    fn kill(&mut self, event: &Event, now: Instant) -> Effect {
        let Some(followed) = self.containers.get_mut(&event.id) else { return Effect::Nothing };
        let asks_to_stop =
            event.signal.is_some_and(|signal| signal == followed.container.stop_signal || signal == SIGKILL);
        if !asks_to_stop || followed.stopping.is_some() {
            return Effect::Nothing;
        }
        let survived_at = now + followed.container.stop_timeout + SURVIVAL_MARGIN;
        let cause = format!("was told to stop by signal {}", event.signal.unwrap_or_default());
        followed.stopping = Some((survived_at, cause));
        Effect::Changed
    }

    /// Takes in what the engine says of one container now; `None` when it is gone.
    pub(super) fn put(&mut self, id: String, inspected: Option<ContainerInspectResponse>, cause: &str) {
        match inspected.and_then(|inspected| Container::read(&inspected, self.host, cause)) {
            None => drop(self.containers.remove(&id)),
            Some(container) => {
                let before = self.containers.remove(&id);
                self.containers.insert(id, Followed::after(before, container));
            }
        }
    }

    /// Takes in a whole list. What was known of a container that is still in the same start stays, its cause too.
    pub(super) fn replace(&mut self, listed: Vec<(String, Option<ContainerInspectResponse>)>) {
        let mut before = std::mem::take(&mut self.containers);
        for (id, inspected) in listed {
            let Some(container) =
                inspected.and_then(|inspected| Container::read(&inspected, self.host, "listed"))
            else {
                continue;
            };
            let known = before.remove(&id);
            let known_task = known.as_ref().and_then(|known| known.container.task.clone().ok());
            let mut followed = Followed::after(known, container);
            if let (Ok(task), Some(known)) = (&mut followed.container.task, known_task)
                && task.id == known.id
                && task.state == known.state
            {
                task.cause = known.cause;
            }
            self.containers.insert(id, followed);
        }
    }

    /// When the next container is thought to have survived its stop signal.
    pub(super) fn next_survival(&self) -> Option<Instant> {
        self.containers.values().filter_map(|followed| Some(followed.stopping.as_ref()?.0)).min()
    }

    /// Returns containers to service that have survived their stop signal by `now`.
    pub(super) fn note_survivals(&mut self, now: Instant) {
        for followed in self.containers.values_mut() {
            if followed.stopping.as_ref().is_some_and(|(survived_at, _)| *survived_at <= now) {
                followed.stopping = None;
                if let Ok(task) = &mut followed.container.task {
                    "survived its stop signal".clone_into(&mut task.cause);
                }
            }
        }
    }

    /// All tasks, in the order of their ids.
    pub(super) fn tasks(&self) -> Vec<Task> {
        let task = |followed: &Followed| {
            let task = followed.container.task.as_ref().ok()?.clone();
            Some(match &followed.stopping {
                Some((_, cause)) => Task { state: TaskState::Stopping, cause: cause.clone(), ..task },
                None => task,
            })
        };
        self.containers.values().filter_map(task).collect()
    }

    /// The containers that are left out, and why.
    pub(super) fn mistakes(&self) -> BTreeSet<Mistake> {
        let mistake = |followed: &Followed| {
            let error = followed.container.task.as_ref().err()?;
            Some(Mistake { owner: followed.container.owner.clone(), problem: error.to_string() })
        };
        self.containers.values().filter_map(mistake).collect()
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{
        ContainerConfig, ContainerState, Health, HealthStatusEnum, HealthcheckResult, NetworkSettings,
        PortBinding,
    };

    use super::*;

    fn model() -> Model {
        Model::new("127.0.0.1".parse().unwrap())
    }

    fn inspected(id: &str, started: &str, labels: &[(&str, &str)]) -> ContainerInspectResponse {
        let binding = PortBinding { host_ip: Some("0.0.0.0".into()), host_port: Some("32768".into()) };
        ContainerInspectResponse {
            id: Some(id.into()),
            name: Some(format!("/{id}-name")),
            state: Some(ContainerState {
                running: Some(true),
                paused: Some(false),
                started_at: Some(started.into()),
                ..Default::default()
            }),
            config: Some(ContainerConfig {
                labels: Some(labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
                stop_signal: Some("SIGQUIT".into()),
                ..Default::default()
            }),
            network_settings: Some(NetworkSettings {
                ports: Some([("8080/tcp".to_owned(), Some(vec![binding]))].into()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn event(id: &str, action: &str, signal: Option<u32>) -> Event {
        Event { id: id.into(), action: action.into(), signal }
    }

    fn states(model: &Model) -> Vec<TaskState> {
        model.tasks().iter().map(|task| task.state).collect()
    }

    fn started(id: &str) -> Model {
        let mut model = model();
        let effect = model.apply(&event(id, "start", None), Instant::now());
        assert_eq!(effect, Effect::Inspect { id: id.into(), cause: "start".into() });
        model.put(id.into(), Some(inspected(id, "t1", &[])), "start");
        model
    }

    #[tokio::test]
    async fn the_container_s_own_stop_signal_is_the_first_sign_that_it_leaves() {
        let mut model = started("a");
        let now = Instant::now();
        assert_eq!(model.apply(&event("a", "kill", Some(3)), now), Effect::Changed);
        assert_eq!(states(&model), [TaskState::Stopping]);
        assert_eq!(model.apply(&event("a", "die", None), now), Effect::Changed);
        assert!(model.tasks().is_empty());
    }

    #[tokio::test]
    async fn other_signals_mean_nothing_but_the_one_that_cannot_be_ignored() {
        let mut model = started("a");
        let now = Instant::now();
        assert_eq!(model.apply(&event("a", "kill", Some(1)), now), Effect::Nothing);
        assert_eq!(model.apply(&event("a", "kill", Some(15)), now), Effect::Nothing);
        assert_eq!(states(&model), [TaskState::Running]);
        assert_eq!(model.apply(&event("a", "kill", Some(9)), now), Effect::Changed);
    }

    #[tokio::test]
    async fn a_container_that_survives_its_stop_signal_returns() {
        let mut model = started("a");
        let now = Instant::now();
        model.apply(&event("a", "kill", Some(3)), now);
        assert_eq!(model.next_survival(), Some(now + Duration::from_secs(15)));
        model.note_survivals(now + Duration::from_secs(15));
        assert_eq!(states(&model), [TaskState::Running]);
    }

    #[tokio::test]
    async fn a_restart_is_another_generation_and_is_not_stopping() {
        let mut model = started("a");
        model.apply(&event("a", "kill", Some(3)), Instant::now());
        let before = model.tasks()[0].id.clone();
        model.put("a".into(), Some(inspected("a", "t2", &[])), "start");
        assert_eq!(states(&model), [TaskState::Running]);
        assert_ne!(model.tasks()[0].id, before);
    }

    fn checked(status: HealthStatusEnum) -> ContainerInspectResponse {
        let mut inspected = inspected("a", "t1", &[]);
        let result = HealthcheckResult {
            exit_code: Some(1),
            output: Some("\n refused\u{7} \nmore".into()),
            ..Default::default()
        };
        let health = Health { status: Some(status), log: Some(vec![result]), ..Default::default() };
        inspected.state.as_mut().unwrap().health = Some(health);
        inspected
    }

    fn look(model: &mut Model, inspected: ContainerInspectResponse, action: &str) -> (TaskState, String) {
        let Effect::Inspect { id, cause } = model.apply(&event("a", action, None), Instant::now()) else {
            panic!("{action} is not looked at")
        };
        model.put(id, Some(inspected), &cause);
        let task = &model.tasks()[0];
        (task.state, task.cause.clone())
    }

    #[tokio::test]
    async fn the_engine_s_health_check_has_a_say_and_a_cause() {
        let mut model = model();
        let starting = checked(HealthStatusEnum::STARTING);
        let waits = "the engine's health check has not passed yet".to_owned();
        assert_eq!(look(&mut model, starting, "start"), (TaskState::Starting, waits));
        let passes = "the engine's health check passes".to_owned();
        let healthy = || checked(HealthStatusEnum::HEALTHY);
        assert_eq!(
            look(&mut model, healthy(), "health_status: healthy"),
            (TaskState::Running, passes.clone())
        );
        let fails = "the engine's health check fails: exit status 1: refused".to_owned();
        let unhealthy = checked(HealthStatusEnum::UNHEALTHY);
        assert_eq!(look(&mut model, unhealthy, "health_status: unhealthy"), (TaskState::Failing, fails));
        assert_eq!(look(&mut model, healthy(), "health_status: healthy"), (TaskState::Running, passes));
    }

    #[tokio::test]
    async fn an_engine_that_was_restarted_and_has_forgotten_its_health_checks_is_not_believed_that_they_start()
     {
        let mut model = model();
        model.put("a".into(), Some(checked(HealthStatusEnum::HEALTHY)), "start");
        model.replace(vec![("a".into(), Some(checked(HealthStatusEnum::STARTING)))]);
        assert_eq!(states(&model), [TaskState::Running]);
        model.replace(vec![("a".into(), Some(checked(HealthStatusEnum::UNHEALTHY)))]);
        assert_eq!(states(&model), [TaskState::Failing]);
        assert!(model.tasks()[0].cause.starts_with("the engine's health check fails"));
        model.replace(vec![("a".into(), Some(checked(HealthStatusEnum::STARTING)))]);
        assert_eq!(states(&model), [TaskState::Failing]);
    }

    #[tokio::test]
    async fn running_out_of_memory_ends_a_container_only_if_the_engine_says_so() {
        let mut model = started("a");
        look(&mut model, inspected("a", "t1", &[]), "oom");
        assert_eq!(states(&model), [TaskState::Running]);
    }

    #[tokio::test]
    async fn a_list_keeps_what_events_have_said() {
        let mut model = started("a");
        model.apply(&event("a", "kill", Some(3)), Instant::now());
        model.replace(vec![("a".into(), Some(inspected("a", "t1", &[]))), ("b".into(), None)]);
        assert_eq!(states(&model), [TaskState::Stopping]);
    }

    #[tokio::test]
    async fn a_misspelt_label_leaves_out_that_container_only() {
        let mut model = started("a");
        model.put("b".into(), Some(inspected("b", "t1", &[("weir.prot", "80")])), "start");
        assert_eq!(model.tasks().len(), 1);
        let mistake = model.mistakes().pop_first().unwrap();
        assert!(mistake.owner.contains("b-name") && mistake.problem.contains("weir.port"), "{mistake:?}");
    }

    #[tokio::test]
    async fn compose_labels_name_service_and_project() {
        let mut model = model();
        let labels = [("com.docker.compose.service", "api"), ("com.docker.compose.project", "shop")];
        model.put("a".into(), Some(inspected("a", "t1", &labels)), "start");
        let task = &model.tasks()[0];
        assert_eq!((task.service.as_deref(), task.project.as_deref()), (Some("api"), Some("shop")));
        assert_eq!(task.ports[0].addr.to_string(), "127.0.0.1:32768");
    }
}
