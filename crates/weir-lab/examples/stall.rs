//! Runs the stall test at its full scale.

use std::io::Write;

use weir_lab::load::stall::{Scale, stall_test};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let outcome = stall_test(Scale::WRK2)?;
    let millis =
        |histogram: &weir_lab::load::Histogram<u64>, at: f64| histogram.value_at_quantile(at) as f64 / 1e6;
    writeln!(
        std::io::stdout(),
        "{} answered; p99 due {:.1} ms, sent {:.3} ms; mean due {:.1} ms; p99.9 lag {:.3} ms; expected {:.1} ms; valid {}",
        outcome.answered,
        millis(&outcome.latency, 0.99),
        millis(&outcome.service, 0.99),
        outcome.latency.mean() / 1e6,
        millis(&outcome.lag, 0.999),
        Scale::WRK2.expected_p99() * 1e3,
        outcome.is_valid()
    )?;
    Ok(())
}
