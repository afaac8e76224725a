//! What many numbers come to, and how sure that is.

/// Mean and half-width of its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half of the interval's width; infinite for a single number.
    pub half_width: f64,
}

impl Estimate {
    /// Of independent numbers, as many as there are; nothing is known of none.
    pub fn of(numbers: &[f64]) -> Self {
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        if numbers.len() < 2 {
            return Self { mean, half_width: f64::INFINITY };
        }
        let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { mean, half_width: student(numbers.len() - 1) * (variance / count).sqrt() }
    }

    /// The interval.
    pub fn interval(self) -> (f64, f64) {
        (self.mean - self.half_width, self.mean + self.half_width)
    }

    /// Whether the intervals of both have nothing in common.
    pub fn is_apart_from(self, other: Self) -> bool {
        self.interval().1 < other.interval().0 || other.interval().1 < self.interval().0
    }
}

/// The number that 97.5 % of Student's distribution lie below, by degrees of freedom: at least 1.
///
/// Source: the usual table; beyond it Cornish and Fisher's expansion, which errs by less than 0.0001 there.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    const NORMAL: f64 = 1.959_964;
    if let Some(quantile) = TABLE.get(freedom.wrapping_sub(1)) {
        return *quantile;
    }
    let (z, v) = (NORMAL, freedom as f64);
    z + (z.powi(3) + z) / (4.0 * v) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * v * v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_as_wide_as_students_distribution_says() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        // 2.776 * sqrt(2.5 / 5)
        assert!((estimate.mean - 3.0).abs() < 1e-12 && (estimate.half_width - 1.963).abs() < 0.001);
        assert!(Estimate::of(&[1.0]).half_width.is_infinite());
        assert!((student(19) - 2.093).abs() < 0.001 && (student(1_000) - 1.962).abs() < 0.001);
    }

    #[test]
    fn intervals_that_touch_are_not_apart() {
        let of = |mean, half_width| Estimate { mean, half_width };
        assert!(of(1.0, 0.4).is_apart_from(of(2.0, 0.5)) && of(2.0, 0.5).is_apart_from(of(1.0, 0.4)));
        assert!(!of(1.0, 0.5).is_apart_from(of(2.0, 0.5)));
    }
}
