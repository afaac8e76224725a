//! Figures that others have published, and trials of arms that are equal.

use super::*;

/// Requests of so many seconds each, each on a connection of its own.
fn alone(seconds: &[f64]) -> Counts {
    Counts::of(seconds.iter().map(|seconds| Bucket { requests: 1, failures: 0, seconds: *seconds }))
}

/// So many requests of 20 connections, half of which take a hundredth less and half a hundredth more.
fn about(seconds: f64, answered: u64, failures: u64) -> Counts {
    let bucket = |n: u64| {
        let part = |all: u64| all / 20 + u64::from(n < all % 20);
        let factor = if n.is_multiple_of(2) { 0.99 } else { 1.01 };
        Bucket {
            requests: part(answered) + part(failures),
            failures: part(failures),
            seconds: part(answered) as f64 * seconds * factor,
        }
    };
    Counts::of((0..20).map(bucket))
}

fn is_near(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() < tolerance, "{value}, not {expected}");
}

#[test]
fn means_differ_as_welch_says() {
    // Source: the first example of Wikipedia's article on Welch's test: t = -2.46 at 25 degrees of freedom.
    let a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
    let b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4];
    let difference = weigh(&alone(&a), &alone(&b)).latency.unwrap();
    let half_width = difference.interval.high - difference.found;
    is_near(difference.found, 2.2, 0.1);
    // 2.060 is Student's quantile for 25 degrees of freedom.
    is_near(difference.found / (half_width / 2.060), 2.46, 0.01);
}

#[test]
fn quantiles_of_student_are_those_of_the_table() {
    for (freedom, quantile) in [(5.0, 2.571), (10.0, 2.228), (30.0, 2.042), (120.0, 1.980)] {
        is_near(student(NORMAL, freedom), quantile, 0.004);
    }
    // 99.95 %: the normal quantile, and Student's for 18 and 60 degrees.
    is_near(student(3.2905, 18.0), 3.922, 0.01);
    is_near(student(3.2905, 60.0), 3.460, 0.005);
    is_near(student(NORMAL, f64::INFINITY), NORMAL, 1e-9);
}

#[test]
fn parts_differ_as_newcombe_says() {
    // Source: his paper's table II, method 10: 56 of 70 against 48 of 80, and 9 of 10 against 3 of 10.
    let interval = newcombe(Part { some: 48.0, all: 80.0 }, Part { some: 56.0, all: 70.0 }, NORMAL);
    is_near(interval.low, 0.0524, 0.0001);
    is_near(interval.high, 0.3339, 0.0001);
    let interval = newcombe(Part { some: 3.0, all: 10.0 }, Part { some: 9.0, all: 10.0 }, NORMAL);
    is_near(interval.low, 0.1705, 0.0001);
    is_near(interval.high, 0.8090, 0.0001);
}

#[test]
fn requests_that_fail_together_count_as_fewer() {
    let of = |failures: [u64; 4]| {
        Counts::of(failures.map(|failures| Bucket { requests: 10, failures, seconds: 0.0 }))
    };
    let even = of([5, 5, 5, 5]).independent().unwrap();
    assert_eq!((even.some, even.all), (20.0, 40.0), "no less than as if they were alone");
    // 100 of residuals, 4/3 of it, by 40 squared, is 13.3 times 0.25/40.
    let together = of([10, 0, 10, 0]).independent().unwrap();
    is_near(together.all, 3.0, 1e-9);
    is_near(together.some / together.all, 0.5, 1e-9);
}

#[test]
fn an_interval_that_is_always_valid_is_narrowest_where_it_should_be() {
    is_near(always_valid(10_000), 3.279, 0.001);
    assert!(always_valid(100) > 9.0 && always_valid(2_000) < 3.6 && always_valid(1_000_000) < 3.8);
}

#[test]
fn nothing_is_said_of_nothing() {
    let nothing = Counts::default();
    let weighed = weigh(&nothing, &about(0.01, 5_000, 0));
    assert_eq!((weighed.latency, weighed.failures, weighed.verdict), (None, None, Verdict::TooFew));
    assert_eq!((nothing.mean(), nothing.failure_ratio()), (None, None));
    // All of them failed: there is no time of any.
    let weighed = weigh(&about(0.01, 0, 2_000), &about(0.01, 2_000, 0));
    assert_eq!((weighed.latency, weighed.verdict), (None, Verdict::Worse(Side::A, Figure::Failures)));
    // One connection says nothing of others.
    let one = Counts::of([Bucket { requests: 5_000, failures: 0, seconds: 99.0 }]);
    let weighed = weigh(&one, &about(0.01, 5_000, 0));
    assert_eq!((weighed.latency, weighed.verdict), (None, Verdict::TooFew));
}

#[test]
fn an_arm_that_is_slower_or_fails_more_is_worse_once_both_have_had_enough() {
    let verdict = |a: &Counts, b: &Counts| weigh(a, b).verdict;
    let fast = about(0.010, 2_000, 0);
    assert_eq!(verdict(&fast, &about(0.020, 999, 0)), Verdict::TooFew);
    assert_eq!(verdict(&fast, &about(0.020, 1_000, 0)), Verdict::Worse(Side::B, Figure::Latency));
    assert_eq!(verdict(&about(0.020, 1_000, 0), &fast), Verdict::Worse(Side::A, Figure::Latency));
    assert_eq!(verdict(&fast, &about(0.010, 2_000, 100)), Verdict::Worse(Side::B, Figure::Failures));
    assert_eq!(verdict(&fast, &about(0.010, 2_000, 3)), Verdict::Undecided, "chance");
    assert_eq!(
        verdict(&about(0.010, 100, 2_000), &about(0.020, 2_000, 0)),
        Verdict::Mixed,
        "fast, and failing"
    );
    let few = Counts::of((0..9).map(|_| Bucket { requests: 900, failures: 0, seconds: 99.0 }));
    assert_eq!(verdict(&fast, &few), Verdict::TooFew, "nine connections");
}

#[test]
fn a_difference_that_is_sure_and_small_does_not_matter() {
    let verdict = |slower: f64| {
        let of = |seconds: f64| {
            Counts::of((0..60).map(|n| {
                let seconds = seconds * 10_000.0 * if n % 2 == 0 { 0.999 } else { 1.001 };
                Bucket { requests: 10_000, failures: 0, seconds }
            }))
        };
        weigh(&of(0.010), &of(slower)).verdict
    };
    assert_eq!(verdict(0.010_4), Verdict::Undecided, "4 % more");
    assert_eq!(verdict(0.010_6), Verdict::Worse(Side::B, Figure::Latency), "6 % more");
}

/// How many of `trials` of arms that are equal say otherwise at one of 50 looks: by the usual interval, by the one that is always
/// valid, and by their verdict. Each arm has so many connections, the times of which differ by that factor.
fn wrong(trials: u32, connections: usize, spread: f64) -> (u32, u32, u32) {
    let mut random = fastrand::Rng::with_seed(20_26);
    let (mut usual, mut always, mut verdicts) = (0, 0, 0);
    for _ in 0..trials {
        let mut arms = [vec![Bucket::default(); connections], vec![Bucket::default(); connections]];
        let means: Vec<f64> =
            (0..2 * connections).map(|_| 0.01 * (1.0 + spread * (random.f64() - 0.5))).collect();
        let (mut is_usual, mut is_always, mut is_verdict) = (false, false, false);
        for _look in 0..50 {
            for (at, bucket) in arms.iter_mut().flatten().enumerate() {
                for _ in 0..200 / connections {
                    // Exponential, as times often are.
                    bucket.requests += 1;
                    bucket.seconds -= means[at] * (1.0 - random.f64()).ln();
                }
            }
            let [a, b] = arms.each_ref().map(|buckets| Counts::of(buckets.iter().copied()));
            let weighed = weigh(&a, &b);
            let difference = weighed.latency.unwrap();
            let excludes_none = |interval: Interval| interval.low > 0.0 || interval.high < 0.0;
            is_usual |= excludes_none(difference.interval);
            is_always |= excludes_none(difference.always);
            is_verdict |= matches!(weighed.verdict, Verdict::Worse(..));
        }
        usual += u32::from(is_usual);
        always += u32::from(is_always);
        verdicts += u32::from(is_verdict);
    }
    (usual, always, verdicts)
}

#[test]
fn whoever_looks_again_and_again_at_equal_arms_is_rarely_wrong() {
    let (usual, always, verdicts) = wrong(200, 50, 0.0);
    assert!(usual > 40, "{usual} of 200: the usual interval is not for many looks");
    assert!(always <= 5, "{always} of 200: 2.5 % at most");
    assert!(verdicts <= always, "{verdicts}, and {always}");
}

#[test]
fn few_connections_that_differ_do_not_make_arms_differ() {
    let (_, always, verdicts) = wrong(200, 10, 1.0);
    assert!(always <= 5 && verdicts <= always, "{always} and {verdicts} of 200: 2.5 % at most");
}
