use weir_lab::{measure::Batches, scenario::*, simulator::*, work::Work, theory};
use weir_core::definition::Algorithm; use weir_core::balance::Draws;
fn main() {
    let s = |n, load, alg: Policy, count: u64| {
        let sc = Scenario::plain(ServerKind::plain(n, Discipline::Fcfs { slots: 1, queue: u32::MAX }), Work::Exponential(1e9), load);
        let t = std::time::Instant::now();
        let b = Simulator::new(&sc, alg, 7, Batches::of(count).with_histogram()).at_most(count).run();
        let e = t.elapsed().as_secs_f64();
        println!("{n} {load} {}: {:.4} ± {:.4} p99 {:.3}  {:.2} M/s", alg.name(), b.mean().mean/1e9, b.mean().half_width/1e9, b.quantile(0.99)/1e9, count as f64/e/1e6);
    };
    s(1, 0.5, Policy::Weir(Algorithm::RoundRobin), 4_000_000);
    println!("theory {:?}", theory::mm1(0.5));
    for a in [Policy::Weir(Algorithm::RoundRobin), Policy::Weir(Algorithm::LeastOutstandingRequests), Policy::Weir(Algorithm::PowerOfTwoChoices(Draws::Distinct)), Policy::Weir(Algorithm::PowerOfTwoChoices(Draws::WithReplacement)), Policy::Weir(Algorithm::Prequal), Policy::Weir(Algorithm::PeakEwma), Policy::Laboratory(LaboratoryPolicy::JoinIdleQueue), Policy::Laboratory(LaboratoryPolicy::C3)] {
        s(10, 0.8, a, 4_000_000);
    }
    s(100, 0.9, Policy::Weir(Algorithm::PowerOfTwoChoices(Draws::Distinct)), 4_000_000);
    s(500, 0.9, Policy::Weir(Algorithm::PowerOfTwoChoices(Draws::Distinct)), 4_000_000);
}
