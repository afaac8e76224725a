//! Forest plots: differences with how sure they are, one below the other, and a line where there is none.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::ink::{Ink, TEXT};
use super::plot::{Area, Dash, Drawn, LETTERS, WIDTH, frame, letters, mark, stroke, svg, whole};
use super::words::number;
use crate::statistics::Estimate;

/// Room for names at the left, and for numbers at the right.
const NAMES: i32 = 520;
const NUMBERS: i32 = 320;

/// Differences.
#[derive(Debug)]
pub(super) struct Forest {
    pub(super) title: String,
    /// What differs, with its unit.
    pub(super) label: String,
    /// Names and differences, in order.
    pub(super) rows: Vec<(String, Ink, Estimate)>,
}

impl Forest {
    /// As SVG.
    pub(super) fn svg(&self) -> String {
        let height = 130 + whole(self.rows.len()) * 52;
        svg((WIDTH, height), &self.title, |root| {
            let known = self.rows.iter().filter(|(_, _, estimate)| estimate.mean.is_finite());
            let ends = known.flat_map(|(_, _, estimate)| {
                let (low, high) = estimate.interval();
                [low, high, estimate.mean].into_iter().filter(|end| end.is_finite())
            });
            let (low, high) = ends.fold((0.0_f64, 0.0_f64), |(low, high), end| (low.min(end), high.max(end)));
            let margin = ((high - low) * 0.06).max(1e-6);
            let x = Axis::linear(self.label.clone(), low - margin, high + margin);
            let mut y = Axis::linear("", 0.0, self.rows.len().max(1) as f64);
            y.ticks.clear();
            y.range = (y.range.1, y.range.0);
            // No room for labels of its own at the left: names stand there.
            let chart = frame(root, (NAMES - 64, 0, WIDTH - NUMBERS, height), (&x, &y))?;
            let zero = [chart.backend_coord(&(0.0, 0.0)), chart.backend_coord(&(0.0, y.range.0))];
            stroke(root, &zero, Dash::Dashed, TEXT.stroke_width(3))?;
            for (at, (name, ink, estimate)) in self.rows.iter().enumerate() {
                let middle = at as f64 + 0.5;
                let to_pixel = |x: f64| chart.backend_coord(&(x, middle));
                row(root, (name, *ink, *estimate), to_pixel)?;
            }
            Ok(String::new())
        })
    }
}

fn row(
    root: &Area<'_>,
    (name, ink, estimate): (&str, Ink, Estimate),
    to_pixel: impl Fn(f64) -> (i32, i32),
) -> Drawn {
    let y = to_pixel(0.0).1;
    let style = letters(LETTERS, HPos::Right, VPos::Center);
    root.draw(&Text::new(name.to_owned(), (NAMES - 16, y), style))?;
    let (low, high) = estimate.interval();
    let text = if !estimate.mean.is_finite() {
        "nothing is known".to_owned()
    } else if estimate.half_width.is_finite() {
        if low.is_finite() && high.is_finite() {
            stroke(root, &[to_pixel(low), to_pixel(high)], Dash::Solid, ink.colour.stroke_width(5))?;
        }
        format!("{} ({} to {})", number(estimate.mean), number(low), number(high))
    } else {
        format!("{} (one seed)", number(estimate.mean))
    };
    if estimate.mean.is_finite() {
        mark(root, to_pixel(estimate.mean), ink)?;
    }
    let style = letters(LETTERS - 2, HPos::Left, VPos::Center);
    root.draw(&Text::new(text, (WIDTH - NUMBERS + 8, y), style))
}
