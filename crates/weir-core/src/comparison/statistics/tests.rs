//! Figures that others have published, and trials of arms that are equal.

use super::*;

fn counts(seconds: &[f64], failures: u64) -> Counts {
    Counts {
        requests: seconds.len() as u64 + failures,
        failures,
        seconds: seconds.iter().sum(),
        squares: seconds.iter().map(|second| second * second).sum(),
    }
}

/// So many requests of which half take a tenth less and half a tenth more.
fn about(seconds: f64, answered: u64, failures: u64) -> Counts {
    let squares = answered as f64 * (seconds * seconds + (0.1 * seconds).powi(2));
    Counts { requests: answered + failures, failures, seconds: answered as f64 * seconds, squares }
}

fn is_near(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() < tolerance, "{value}, not {expected}");
}

#[test]
fn means_differ_as_welch_says() {
    // Source: the first example of Wikipedia's article on Welch's test: t = -2.46 at 25 degrees of freedom.
    let a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
    let b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4];
    let difference = weigh(&counts(&a, 0), &counts(&b, 0)).latency.unwrap();
    let half_width = difference.interval.high - difference.found;
    is_near(difference.found, 2.2, 0.1);
    // 2.060 is Student's quantile for 25 degrees of freedom.
    is_near(difference.found / (half_width / 2.060), 2.46, 0.01);
}

#[test]
fn quantiles_of_student_are_those_of_the_table() {
    for (freedom, quantile) in [(5.0, 2.571), (10.0, 2.228), (30.0, 2.042), (120.0, 1.980)] {
        is_near(student(freedom), quantile, 0.004);
    }
}

#[test]
fn failures_differ_as_newcombe_says() {
    // Source: his paper's table II, first column: 56 of 70 against 48 of 80, method 10.
    let of = |failures, requests| Counts { requests, failures, ..Counts::default() };
    let interval = weigh(&of(48, 80), &of(56, 70)).failures.unwrap().interval;
    is_near(interval.low, 0.0524, 0.0001);
    is_near(interval.high, 0.3339, 0.0001);
    // The third: 9 of 10 against 3 of 10.
    let interval = weigh(&of(3, 10), &of(9, 10)).failures.unwrap().interval;
    is_near(interval.low, 0.1705, 0.0001);
    is_near(interval.high, 0.8090, 0.0001);
}

#[test]
fn an_interval_that_is_always_valid_is_narrowest_where_it_should_be() {
    is_near(always_valid(10_000), 3.279, 0.001);
    // Relative to what it could be: the usual interval narrows with the root of the requests, this one a little slower.
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
}

#[test]
fn an_arm_that_is_slower_or_fails_more_is_worse_once_both_have_had_enough() {
    let verdict = |a, b| weigh(&a, &b).verdict;
    let fast = about(0.010, 2_000, 0);
    assert_eq!(verdict(fast, about(0.020, 999, 0)), Verdict::TooFew);
    assert_eq!(verdict(fast, about(0.020, 1_000, 0)), Verdict::Worse(Side::B, Figure::Latency));
    assert_eq!(verdict(about(0.020, 1_000, 0), fast), Verdict::Worse(Side::A, Figure::Latency));
    assert_eq!(verdict(fast, about(0.010, 2_000, 100)), Verdict::Worse(Side::B, Figure::Failures));
    assert_eq!(verdict(fast, about(0.010, 2_000, 3)), Verdict::Undecided, "chance");
    assert_eq!(
        verdict(about(0.010, 100, 2_000), about(0.020, 2_000, 0)),
        Verdict::Mixed,
        "fast, and failing"
    );
}

#[test]
fn a_difference_that_is_sure_and_small_does_not_matter() {
    let verdict = |slower: f64| weigh(&about(0.010, 1_000_000, 0), &about(slower, 1_000_000, 0)).verdict;
    assert_eq!(verdict(0.010_4), Verdict::Undecided, "4 % more");
    assert_eq!(verdict(0.010_6), Verdict::Worse(Side::B, Figure::Latency), "6 % more");
}

#[test]
fn whoever_looks_again_and_again_at_equal_arms_is_rarely_wrong() {
    const TRIALS: u32 = 200;
    let mut random = fastrand::Rng::with_seed(20_26);
    let (mut usual, mut always) = (0, 0);
    for _ in 0..TRIALS {
        let mut arms = [Counts::default(); 2];
        let (mut was_usual, mut was_always) = (false, false);
        for _look in 0..50 {
            for counts in &mut arms {
                for _ in 0..100 {
                    // Exponential, as times often are.
                    let seconds = -0.01 * (1.0 - random.f64()).ln();
                    counts.requests += 1;
                    counts.seconds += seconds;
                    counts.squares += seconds * seconds;
                }
            }
            let difference = weigh(&arms[0], &arms[1]).latency.unwrap();
            let excludes_none = |interval: Interval| interval.low > 0.0 || interval.high < 0.0;
            was_usual |= excludes_none(difference.interval);
            was_always |= excludes_none(difference.always);
        }
        usual += u32::from(was_usual);
        always += u32::from(was_always);
    }
    assert!(usual > TRIALS / 5, "{usual}: the usual interval is not for many looks");
    assert!(always <= TRIALS / 40, "{always} of {TRIALS}: 2.5 % at most");
}
