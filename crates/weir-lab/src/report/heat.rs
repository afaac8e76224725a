//! Heat maps: one small panel for each policy, time to the right and servers downwards.

use std::fmt::Write;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::plot::{LETTERS, WIDTH, frame, letters, svg, whole};
use super::words::number;

/// Panels side by side: of few, and of many.
const COLUMNS: (usize, usize) = (2, 3);

/// So many are still few.
const FEW: usize = 6;

/// Rows that are shown: of more servers, neighbours share one.
const ROWS: usize = 32;

/// Room at the right for what shades mean.
const SCALE: i32 = 150;

/// Panels and what they mean.
#[derive(Debug)]
pub(super) struct Heat {
    pub(super) title: String,
    /// What shades mean.
    pub(super) label: String,
    pub(super) shades: Shades,
    /// How long the run was, in seconds.
    pub(super) seconds: f64,
    pub(super) panels: Vec<Panel>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) name: String,
    /// By slice of time, by server; `None` where nothing is known.
    pub(super) cells: Vec<Vec<Option<f64>>>,
}

/// Which shade a value has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shades {
    /// From nothing over 1, which is as it should be, to 2 and more.
    AroundOne,
    /// From nothing to the most, more finely at the lower end.
    UpTo(f64),
}

/// Shades that are told apart.
const STEPS: usize = 15;

impl Shades {
    fn step(self, value: f64) -> usize {
        let part = match self {
            Self::AroundOne => value / 2.0,
            Self::UpTo(most) => (1.0 + value.max(0.0)).ln() / (1.0 + most.max(1.0)).ln(),
        };
        ((part.clamp(0.0, 1.0) * STEPS as f64) as usize).min(STEPS - 1)
    }

    fn value(self, part: f64) -> f64 {
        match self {
            Self::AroundOne => part * 2.0,
            Self::UpTo(most) => ((1.0 + most.max(1.0)).ln() * part).exp() - 1.0,
        }
    }

    fn text(self, part: f64) -> String {
        let value = self.value(part);
        match self {
            Self::AroundOne if part >= 1.0 => "≥ 2 ×".to_owned(),
            Self::AroundOne => format!("{value} ×"),
            Self::UpTo(_) if value >= 10.0 => number(value.round()),
            Self::UpTo(_) => format!("{value:.1}"),
        }
    }

    fn colour(self, step: usize) -> String {
        // Blue to white to orange; and Nuñez et al., "Cividis", 2018. Both are the same to whoever sees fewer colours.
        const AROUND: [[f64; 3]; 5] = [
            [5.0, 70.0, 120.0],
            [86.0, 160.0, 205.0],
            [235.0, 235.0, 228.0],
            [236.0, 150.0, 70.0],
            [150.0, 50.0, 0.0],
        ];
        const UP: [[f64; 3]; 5] = [
            [0.0, 34.0, 78.0],
            [64.0, 77.0, 107.0],
            [124.0, 123.0, 120.0],
            [188.0, 175.0, 111.0],
            [254.0, 232.0, 56.0],
        ];
        let colours = if self == Self::AroundOne { AROUND } else { UP };
        let at = step as f64 / (STEPS - 1) as f64 * 4.0;
        let (low, part) = ((at as usize).min(3), at - (at as usize).min(3) as f64);
        let mix = |channel: usize| colours[low][channel] * (1.0 - part) + colours[low + 1][channel] * part;
        format!("#{:02x}{:02x}{:02x}", mix(0) as u8, mix(1) as u8, mix(2) as u8)
    }
}

impl Heat {
    /// As SVG.
    pub(super) fn svg(&self) -> String {
        let rows = self.panels.iter().map(Panel::servers).max().unwrap_or(1).clamp(1, ROWS);
        let most = if self.panels.len() > FEW { COLUMNS.1 } else { COLUMNS.0 };
        let across = self.panels.len().clamp(1, most);
        let down = self.panels.len().div_ceil(across).max(1);
        let height = 40 + 92 + 24 + (whole(rows) * 20).max(160);
        let width = (WIDTH - SCALE) / whole(across);
        svg((WIDTH, height * whole(down)), &self.title, |root| {
            let mut cells = String::new();
            for (at, panel) in self.panels.iter().enumerate() {
                let (left, top) = (whole(at % across) * width, whole(at / across) * height);
                self.panel(root, panel, (left, top, left + width, top + height), &mut cells)?;
            }
            self.scale(root, &mut cells)?;
            Ok(cells)
        })
    }

    fn panel(
        &self,
        root: &super::plot::Area<'_>,
        panel: &Panel,
        (left, top, right, bottom): (i32, i32, i32, i32),
        cells: &mut String,
    ) -> super::plot::Drawn {
        let servers = panel.servers();
        let x = Axis::linear("time (s)", 0.0, self.seconds);
        let mut y = Axis::linear("server", 0.0, servers.max(1) as f64);
        // The first server is at the top, and labels stand at the middle of rows.
        y.range = (y.range.1, y.range.0);
        // Round numbers that have room.
        let every = [1, 2, 5, 10, 20, 50, 100, 200, 500].into_iter().find(|every| servers / every <= 7);
        let every = every.unwrap_or(1000);
        y.ticks =
            (0..servers).step_by(every).map(|server| (server as f64 + 0.5, server.to_string())).collect();
        let frame = frame(root, (left, top + 40, right, bottom), (&x, &y))?;
        let start = frame.backend_coord(&(0.0, 0.0));
        let end = frame.backend_coord(&(self.seconds, servers.max(1) as f64));
        let title = Text::new(
            panel.name.clone(),
            (start.0, top + 36),
            letters(LETTERS + 2, HPos::Left, VPos::Center),
        );
        root.draw(&title)?;
        let share = servers.div_ceil(ROWS).max(1);
        let rows = panel.rows(share);
        let mut shades = vec![String::new(); STEPS];
        for (at, slice) in rows.iter().enumerate() {
            let edge = |at: usize, of: usize, (from, to): (i32, i32)| {
                from + (to - from) * whole(at) / whole(of.max(1))
            };
            let (x, next) =
                (edge(at, rows.len(), (start.0, end.0)), edge(at + 1, rows.len(), (start.0, end.0)));
            for (row, value) in slice.iter().enumerate() {
                let ys =
                    [row, row + 1].map(|row| edge((row * share).min(servers), servers, (start.1, end.1)));
                if let Some(value) = value.filter(|value| value.is_finite()) {
                    let path = &mut shades[self.shades.step(value)];
                    // One path for each shade: a rectangle for each cell would be five times as much text.
                    let _ = write!(path, "M{x} {}h{}v{}h{}z", ys[0], next - x, ys[1] - ys[0], x - next);
                }
            }
        }
        for (step, path) in shades.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            let _ = write!(
                cells,
                "<path shape-rendering=\"crispEdges\" fill=\"{}\" d=\"{path}\"/>",
                self.shades.colour(step)
            );
        }
        Ok(())
    }

    /// What shades mean, at the right.
    fn scale(&self, root: &super::plot::Area<'_>, cells: &mut String) -> super::plot::Drawn {
        const TOP: i32 = 64;
        const STEP: i32 = 14;
        let left = WIDTH - SCALE + 24;
        let bottom = TOP + whole(STEPS) * STEP;
        for step in 0..STEPS {
            let (y, colour) = (bottom - (whole(step) + 1) * STEP, self.shades.colour(step));
            let _ = write!(cells, "<path fill=\"{colour}\" d=\"M{left} {y}h30v{STEP}h-30z\"/>");
        }
        for part in [0.0, 0.5, 1.0] {
            let y = bottom - (f64::from(bottom - TOP) * part) as i32;
            let text = Text::new(
                self.shades.text(part),
                (left + 40, y),
                letters(LETTERS - 3, HPos::Left, VPos::Center),
            );
            root.draw(&text)?;
        }
        let style = letters(LETTERS - 3, HPos::Left, VPos::Center);
        root.draw(&Text::new(self.label.clone(), (left - 10, TOP - 32), style))
    }
}

impl Panel {
    fn servers(&self) -> usize {
        self.cells.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Rows that so many neighbours share: of them the most is shown, so that nobody hides.
    fn rows(&self, share: usize) -> Vec<Vec<Option<f64>>> {
        let most = |cells: &[Option<f64>]| cells.iter().copied().flatten().reduce(f64::max);
        self.cells.iter().map(|slice| slice.chunks(share).map(most).collect()).collect()
    }
}
