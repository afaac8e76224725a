//! `weir chaos`: makes a target group misbehave as a load balancer does now and then, to see what its tasks do then.

use std::process::ExitCode;
use std::time::Duration;

use super::client::Admin;
use crate::output::{complain, say};

/// What the group shall do wrong; in place of what it did wrong before.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The target group.
    group: String,
    /// A target that leaves goes on getting requests for this long, like `10s`.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    deregister_late: Option<Duration>,
    /// What probes find out takes effect only after this time.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    delay_health: Option<Duration>,
    /// One healthy target after another is taken for unhealthy for this long.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    flap: Option<Duration>,
    /// The probes of all targets in this zone fail.
    #[arg(long, value_name = "ZONE")]
    lose_zone: Option<String>,
    /// Do everything right again.
    #[arg(long, exclusive = false, conflicts_with_all = ["deregister_late", "delay_health", "flap", "lose_zone"])]
    off: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Asks a running weir; exit status 1 when it refuses.
pub(crate) fn chaos(options: &Options) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/target_groups/{}/chaos", options.group);
    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
    let wanted = serde_json::json!({
        "deregister_late": seconds(options.deregister_late),
        "delay_health": seconds(options.delay_health),
        "flap": seconds(options.flap),
        "lose_zone": options.lose_zone,
    });
    let is_nothing = wanted
        == serde_json::json!({
            "deregister_late": 0.0, "delay_health": 0.0, "flap": 0.0, "lose_zone": null
        });
    anyhow::ensure!(
        options.off || !is_nothing,
        "what shall {} do wrong? Name --deregister-late, --delay-health, --flap or --lose-zone, or --off",
        options.group
    );
    let (status, body) =
        if options.off { options.admin.delete(&path)? } else { options.admin.put(&path, &wanted)? };
    if status == 200 {
        say(body.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    complain(body.trim_end());
    Ok(ExitCode::from(1))
}
