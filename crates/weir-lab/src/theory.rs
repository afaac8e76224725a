//! What queueing theory says: closed forms and small chains, computed here. Times in units of the mean service time.

/// The mean response time of M/M/1.
pub fn mm1(load: f64) -> f64 {
    1.0 / (1.0 - load)
}

/// The part of arrivals that M/M/c without a queue refuses: Erlang's B.
pub fn erlang_b(servers: u32, load: f64) -> f64 {
    let offered = load * f64::from(servers);
    (1..=servers).fold(1.0, |blocked, n| offered * blocked / (f64::from(n) + offered * blocked))
}

/// The part of arrivals that wait in M/M/c with one queue: Erlang's C.
pub fn erlang_c(servers: u32, load: f64) -> f64 {
    let blocked = erlang_b(servers, load);
    blocked / (1.0 - load * (1.0 - blocked))
}

/// The mean response time of M/M/c with one queue: what no algorithm beats on equal servers.
pub fn mmc(servers: u32, load: f64) -> f64 {
    1.0 + erlang_c(servers, load) / (f64::from(servers) * (1.0 - load))
}

/// The part of arrivals that M/M/1 refuses which has room for so many.
pub fn mm1k(load: f64, room: i32) -> f64 {
    (1.0 - load) * load.powi(room) / (1.0 - load.powi(room + 1))
}

/// The mean response time of M/G/1, first come first served, whose work varies by that squared coefficient: Pollaczek and
/// Khinchine's.
pub fn mg1(load: f64, squared_variation: f64) -> f64 {
    1.0 + load / (1.0 - load) * (1.0 + squared_variation) / 2.0
}

/// The squared coefficient of variation of a bounded Pareto distribution.
pub fn bounded_pareto_variation(alpha: f64, spread: f64) -> f64 {
    let moment = |n: f64| alpha / (alpha - n) * (1.0 - spread.powf(n - alpha)) / (1.0 - spread.powf(-alpha));
    moment(2.0) / moment(1.0).powi(2) - 1.0
}

/// The mean response time behind round robin over so many servers, each of which is `E_n/M/1`.
pub fn round_robin(servers: i32, load: f64) -> f64 {
    let rate = f64::from(servers) * load;
    let mut sigma = load;
    for _ in 0..10_000 {
        sigma = (rate / (rate + 1.0 - sigma)).powi(servers);
    }
    1.0 / (1.0 - sigma)
}

/// The mean response time of the best of so many choices among infinitely many servers: the supermarket model.
///
/// Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001; Vvedenskaya et al., 1996.
pub fn supermarket(choices: i32, load: f64) -> f64 {
    let exponent =
        |level: i32| (f64::from(choices).powi(level) - f64::from(choices)) / (f64::from(choices) - 1.0);
    (1..60).map(|level| load.powf(exponent(level))).take_while(|part| *part > 1e-18).sum()
}

/// The mean response time of two servers where that part of arrivals goes to the shorter queue, and the others anywhere: a chain,
/// solved to eight digits.
pub fn two_servers(load: f64, informed: f64) -> f64 {
    /// Nobody has more: at a load of 0.9 it would be once in a billion.
    const MOST: usize = 200;
    let arrivals = 2.0 * load;
    let at = |a: usize, b: usize| a * (MOST + 1) + b;
    // Rates into the first queue, given both.
    let into_first = |a: usize, b: usize| {
        let shorter = match a.cmp(&b) {
            std::cmp::Ordering::Less => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 0.0,
        };
        arrivals * (informed * shorter + (1.0 - informed) * 0.5)
    };
    let mut chance = vec![0.0_f64; (MOST + 1) * (MOST + 1)];
    for a in 0..=MOST {
        for b in 0..=MOST {
            chance[at(a, b)] = (1.0 - load).powi(2) * load.powf((a + b) as f64);
        }
    }
    let mut mean_before = 0.0;
    loop {
        for a in 0..=MOST {
            for b in 0..=MOST {
                let mut flow = 0.0;
                if a > 0 {
                    flow += chance[at(a - 1, b)] * into_first(a - 1, b);
                }
                if b > 0 {
                    flow += chance[at(a, b - 1)] * into_first(b - 1, a);
                }
                if a < MOST {
                    flow += chance[at(a + 1, b)];
                }
                if b < MOST {
                    flow += chance[at(a, b + 1)];
                }
                let busy = f64::from(u8::from(a > 0)) + f64::from(u8::from(b > 0));
                let first = if a < MOST { into_first(a, b) } else { 0.0 };
                let second = if b < MOST { into_first(b, a) } else { 0.0 };
                chance[at(a, b)] = flow / (busy + first + second);
            }
        }
        let sum: f64 = chance.iter().sum();
        let jobs: f64 = (0..=MOST)
            .flat_map(|a| (0..=MOST).map(move |b| (a, b)))
            .map(|(a, b)| (a + b) as f64 * chance[at(a, b)])
            .sum();
        let mean = jobs / sum / arrivals;
        if (mean - mean_before).abs() < 1e-8 {
            return mean;
        }
        mean_before = mean;
    }
}

/// The throughput and mean response time of one server, asked by so many users who think that long: mean value analysis.
///
/// Source: Reiser and Lavenberg, 1980.
pub fn closed_loop(users: u32, thinking: f64) -> (f64, f64) {
    let (mut queue, mut rate, mut response) = (0.0, 0.0, 1.0);
    for n in 1..=users {
        response = 1.0 + queue;
        rate = f64::from(n) / (thinking + response);
        queue = rate * response;
    }
    (rate, response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 0.6 * 10_f64.powi(-4) * expected.max(1.0)
    }

    #[test]
    fn closed_forms_are_those_of_the_tables() {
        // `spec/algorithms.md`, section 3.
        assert!(is_near(mmc(10, 0.8), 1.2046) && is_near(mmc(10, 0.95), 2.6512));
        assert!(is_near(erlang_c(10, 0.9), 0.6687) && is_near(erlang_b(10, 0.8), 0.12166));
        assert!(is_near(round_robin(10, 0.5), 1.3246) && is_near(round_robin(10, 0.95), 11.1549));
        assert!(is_near(supermarket(2, 0.9), 2.6141) && is_near(supermarket(2, 0.99), 5.4320));
        assert!(is_near(supermarket(3, 0.9), 2.0279));
        assert!((mg1(0.5, bounded_pareto_variation(1.5, 1e3)) - 6.442).abs() < 0.001);
        let ((rate, response), (_, of_many)) = (closed_loop(10, 9.0), closed_loop(1_000, 1_111.0));
        assert!(is_near(rate, 0.8320) && is_near(response, 3.0187) && (of_many - 8.768).abs() < 0.001);
    }

    #[test]
    fn two_servers_are_as_the_chain_says() {
        assert!(is_near(two_servers(0.5, 1.0), 1.4263) && is_near(two_servers(0.8, 1.0), 2.9557));
        assert!(is_near(two_servers(0.5, 0.5), 1.5966) && is_near(two_servers(0.8, 0.5), 3.2679));
    }
}
