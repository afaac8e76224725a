//! Chaos: how a target group misbehaves on demand, as Elastic Load Balancing does now and then, so that a team sees
//! what its tasks do then before production shows it.

use std::fmt;
use std::time::Duration;

/// What a group does wrong. The default does nothing wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chaos {
    /// A target that leaves goes on getting requests for this long, as while word of a deregistration travels.
    pub deregister_late: Duration,
    /// What probes find out takes effect only after this time.
    pub delay_health: Duration,
    /// One healthy target after another is taken for unhealthy for this long, with as long a pause between two.
    pub flap: Option<Duration>,
    /// The probes of all targets in this zone fail, as when the zone is lost.
    pub lose_zone: Option<String>,
}

impl Chaos {
    /// Whether nothing is done wrong.
    pub fn is_off(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: &Duration| (!time.is_zero()).then(|| format!("{} s", time.as_secs_f32()));
        let said = [
            seconds(&self.deregister_late).map(|time| format!("targets leave {time} late")),
            seconds(&self.delay_health).map(|time| format!("health is {time} late")),
            self.flap.as_ref().and_then(seconds).map(|time| format!("targets flap for {time}")),
            self.lose_zone.as_ref().map(|zone| format!("zone {zone} is lost")),
        ];
        let said: Vec<String> = said.into_iter().flatten().collect();
        f.write_str(if said.is_empty() { "off" } else { "" })?;
        f.write_str(&said.join(", "))
    }
}
