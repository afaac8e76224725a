//! Lines in a frame, and what all figures have in common. Sizes are in halves of a pixel: figures are shown half as large as
//! they are drawn, so that lines are smooth though plotters knows no fractions.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::ink::{Ink, Marker, TEXT};

/// How wide a figure is.
pub(super) const WIDTH: i32 = 1800;

/// How wide its legend is, at the right of it.
pub(super) const LEGEND: i32 = 400;

/// Text of labels; plotters divides it by 1.24.
pub(super) const LETTERS: i32 = 27;

/// A letter is about so wide.
const LETTER: f64 = 12.2;

/// From one line of text to the next.
const DISTANCE: i32 = 30;

/// How wide names are in the legend, and notes below it.
const NAME: i32 = LEGEND - 100;
const NOTE: i32 = LEGEND - 30;

/// The whole figure, in its own units.
pub(super) type Area<'b> = DrawingArea<SVGBackend<'b>, plotters::coord::Shift>;
type Failure = DrawingAreaErrorKind<std::io::Error>;
pub(super) type Drawn<T = ()> = Result<T, Failure>;
type Frame<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// How a line is dashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dash {
    Solid,
    Dashed,
    Dotted,
    Mixed,
}

impl Dash {
    /// Lengths, by turns drawn and not.
    fn pattern(self) -> &'static [f64] {
        match self {
            Self::Solid => &[],
            Self::Dashed => &[20.0, 12.0],
            Self::Dotted => &[5.0, 10.0],
            Self::Mixed => &[22.0, 9.0, 5.0, 9.0],
        }
    }
}

/// A line, or points.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What the legend says; lines of one name have one entry.
    pub(super) name: String,
    pub(super) ink: Ink,
    pub(super) dash: Dash,
    /// Values, in order.
    pub(super) points: Vec<(f64, f64)>,
    /// Markers stand at these values; at every point, if there are none.
    pub(super) marks: Option<Vec<f64>>,
    /// From where to where values may be as well: of some of the points.
    pub(super) bars: Vec<(f64, f64, f64)>,
}

/// A figure of lines.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// Where something happens: lines from top to bottom, which the notes explain.
    pub(super) moments: Vec<(f64, Dash)>,
    /// Below the legend.
    pub(super) notes: Vec<String>,
}

impl Plot {
    /// As SVG.
    pub(super) fn svg(&self) -> String {
        let mut names: Vec<&Line> = Vec::new();
        for line in &self.lines {
            if !names.iter().any(|known| known.name == line.name) {
                names.push(line);
            }
        }
        let lines = |text: &str, width| whole(wrapped(text, letters_in(width)).len());
        let entries: i32 = names.iter().map(|line| entry(lines(&line.name, NAME))).sum();
        let notes: i32 = self.notes.iter().map(|note| entry(lines(note, NOTE))).sum();
        let height = 720.max(entries + notes + 100);
        svg((WIDTH, height), &self.title, |root| {
            let frame = frame(root, (0, 0, WIDTH - LEGEND, height), (&self.x, &self.y))?;
            for (x, dash) in &self.moments {
                if let Some(x) = self.x.place(*x) {
                    let ends = [self.y.range.0, self.y.range.1].map(|y| frame.backend_coord(&(x, y)));
                    stroke(root, &ends, *dash, TEXT.mix(0.5).stroke_width(3))?;
                }
            }
            for line in &self.lines {
                self.line(root, &frame, line)?;
            }
            let left = WIDTH - LEGEND + 20;
            let mut y = 40;
            for line in names {
                sample(root, (left, y), line)?;
                y += entry(text_lines(root, (left + 76, y), &line.name, NAME)?);
            }
            y += 16;
            for note in &self.notes {
                y += entry(text_lines(root, (left, y), note, NOTE)?);
            }
            Ok(String::new())
        })
    }

    fn line(&self, root: &Area<'_>, frame: &Frame<'_, '_>, line: &Line) -> Drawn {
        let pixel = |(x, y): (f64, f64)| {
            let place = (self.x.place(x)?, self.y.place(y)?);
            Some(frame.backend_coord(&place))
        };
        let style = line.ink.colour.stroke_width(4);
        for (x, low, high) in &line.bars {
            let Some(x) = self.x.place(*x) else { continue };
            // What is beyond the axis goes on to its end, and does not end there.
            let ends = [(low, self.y.range.0), (high, self.y.range.1)]
                .map(|(value, end)| self.y.place(*value).map_or((end, false), |place| (place, true)));
            let pixels = ends.map(|(y, _)| frame.backend_coord(&(x, y)));
            let thin = line.ink.colour.mix(0.6).stroke_width(3);
            root.draw(&PathElement::new(pixels, thin))?;
            for ((x, y), _) in pixels.into_iter().zip(ends).filter(|(_, (_, is_end))| *is_end) {
                root.draw(&PathElement::new([(x - 8, y), (x + 8, y)], thin))?;
            }
        }
        // A point without a place divides the line.
        let places: Vec<_> = line.points.iter().map(|point| pixel(*point)).collect();
        for piece in places.split(Option::is_none) {
            stroke(root, &piece.iter().copied().flatten().collect::<Vec<_>>(), line.dash, style)?;
        }
        let marked = |at: &(f64, f64)| {
            line.marks.as_ref().is_none_or(|marks| marks.iter().any(|mark| (mark - at.0).abs() < 1e-9))
        };
        for point in line.points.iter().filter(|point| marked(point)).filter_map(|point| pixel(*point)) {
            mark(root, point, line.ink)?;
        }
        Ok(())
    }
}

/// A figure of that size which `draw` draws; it gives what plotters cannot, as SVG.
pub(super) fn svg(
    (width, height): (i32, i32),
    title: &str,
    draw: impl FnOnce(&Area<'_>) -> Drawn<String>,
) -> String {
    let mut text = String::new();
    let more = {
        let root = SVGBackend::with_string(&mut text, (width as u32, height as u32)).into_drawing_area();
        let more = draw(&root);
        // Whoever is drawn into memory does not fail, and what is missing is seen.
        let _ = root.present();
        more.unwrap_or_default()
    };
    let text = text.replace(" opacity=\"1\"", "").replace("#010203", "currentColor");
    let inside = text.split_once('>').map_or("", |(_, inside)| inside).trim_end();
    let inside = inside.strip_suffix("</svg>").unwrap_or(inside);
    let title = maud::html! { title { (title) } }.into_string();
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\">{title}{inside}{more}</svg>\n"
    )
}

/// Text of labels.
pub(super) fn letters<'a>(size: i32, across: HPos, down: VPos) -> TextStyle<'a> {
    TextStyle::from(("sans-serif", size)).color(&TEXT).pos(Pos::new(across, down))
}

/// Axes with labels inside (left, top, right, bottom).
pub(super) fn frame<'a, 'b>(
    root: &Area<'b>,
    (left, top, right, bottom): (i32, i32, i32, i32),
    (x, y): (&Axis, &Axis),
) -> Drawn<Frame<'a, 'b>> {
    let area = root.clone().shrink((left, top), ((right - left) as u32, (bottom - top) as u32));
    let widest = y.ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
    let labels = (widest as f64 * LETTER + 68.0) as i32;
    // Names are long: each has a column of its own to be wrapped in.
    let columns = if x.is_named() { whole(x.ticks.len().max(1)) } else { 0 };
    let letters_of_name = letters_in((right - left - labels) / columns.max(1) - 14);
    let names: Vec<_> = x.ticks.iter().map(|(at, name)| (*at, wrapped(name, letters_of_name))).collect();
    let lines = names.iter().map(|(_, lines)| lines.len()).max().filter(|_| columns > 0).unwrap_or(1);
    // The widest text at the bottom may stand half beyond the last line.
    let mut frame = ChartBuilder::on(&area)
        .margin_top(24)
        .margin_left(8)
        .margin_right(44)
        .margin_bottom(6)
        .x_label_area_size(78 + DISTANCE * (whole(lines) - 1))
        .y_label_area_size(labels)
        .build_cartesian_2d(x.clone(), y.clone())?;
    frame
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(TEXT.mix(0.14))
        .axis_style(TEXT.mix(0.6))
        .label_style(letters(LETTERS, HPos::Left, VPos::Top))
        .axis_desc_style(letters(LETTERS + 1, HPos::Left, VPos::Top))
        .x_desc(x.label.as_str())
        .y_desc(y.label.as_str())
        .draw()?;
    for (at, lines) in names.iter().filter(|_| columns > 0) {
        let (x, y) = frame.backend_coord(&(*at, y.range.0));
        for (number, line) in lines.iter().enumerate() {
            let style = letters(LETTERS, HPos::Center, VPos::Top);
            root.draw(&Text::new(line.clone(), (x, y + 14 + DISTANCE * whole(number)), style))?;
        }
    }
    Ok(frame)
}

/// A path through points, dashed.
pub(super) fn stroke(root: &Area<'_>, points: &[(i32, i32)], dash: Dash, style: ShapeStyle) -> Drawn {
    if points.len() < 2 {
        return Ok(());
    }
    let pattern = dash.pattern();
    if pattern.is_empty() {
        return root.draw(&PathElement::new(points.to_vec(), style));
    }
    let (mut at, mut left) = (0, pattern[0]);
    let mut piece = vec![points[0]];
    for pair in points.windows(2) {
        let (mut from, to) = ((f64::from(pair[0].0), f64::from(pair[0].1)), pair[1]);
        loop {
            let (x, y) = (f64::from(to.0) - from.0, f64::from(to.1) - from.1);
            let length = x.hypot(y);
            if length < left {
                left -= length;
                piece.push(to);
                break;
            }
            from = (from.0 + x * left / length.max(1e-9), from.1 + y * left / length.max(1e-9));
            let end = (from.0.round() as i32, from.1.round() as i32);
            piece.push(end);
            if at % 2 == 0 {
                root.draw(&PathElement::new(std::mem::take(&mut piece), style))?;
            }
            piece = vec![end];
            at = (at + 1) % pattern.len();
            left = pattern[at];
        }
    }
    if at % 2 == 0 && piece.len() > 1 {
        root.draw(&PathElement::new(piece, style))?;
    }
    Ok(())
}

/// A marker.
pub(super) fn mark(root: &Area<'_>, (x, y): (i32, i32), ink: Ink) -> Drawn {
    let (fill, line) = (ink.colour.filled(), ink.colour.stroke_width(4));
    match ink.marker {
        None => Ok(()),
        Some(Marker::Circle) => root.draw(&Circle::new((x, y), 9, fill)),
        Some(Marker::Ring) => root.draw(&Circle::new((x, y), 9, line)),
        Some(Marker::Square) => root.draw(&Rectangle::new([(x - 8, y - 8), (x + 8, y + 8)], fill)),
        Some(Marker::Bar) => root.draw(&Rectangle::new([(x - 4, y - 12), (x + 4, y + 12)], fill)),
        Some(Marker::Triangle) => {
            root.draw(&Polygon::new([(x, y - 12), (x + 11, y + 8), (x - 11, y + 8)], fill))
        }
        Some(Marker::Diamond) => {
            root.draw(&Polygon::new([(x, y - 12), (x + 12, y), (x, y + 12), (x - 12, y)], fill))
        }
        Some(Marker::Cross) => {
            root.draw(&PathElement::new([(x - 9, y - 9), (x + 9, y + 9)], line))?;
            root.draw(&PathElement::new([(x - 9, y + 9), (x + 9, y - 9)], line))
        }
    }
}

/// A number of things, as lengths are counted; there are never so many that it matters.
pub(super) fn whole(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// How many letters stand side by side.
fn letters_in(width: i32) -> usize {
    (f64::from(width) / LETTER).max(4.0) as usize
}

/// How high an entry of the legend is that takes so many lines.
fn entry(lines: i32) -> i32 {
    lines * DISTANCE + 12
}

/// What a line looks like.
fn sample(root: &Area<'_>, (x, y): (i32, i32), line: &Line) -> Drawn {
    // Policies are told apart by their markers; dashes say what is simulated and what is not.
    let dash = if line.ink.marker.is_some() { Dash::Solid } else { line.dash };
    stroke(root, &[(x, y), (x + 60, y)], dash, line.ink.colour.stroke_width(4))?;
    mark(root, (x + 30, y), line.ink)
}

/// Text from there on in as many lines of that width as it takes; gives how many.
pub(super) fn text_lines(root: &Area<'_>, (x, y): (i32, i32), text: &str, width: i32) -> Drawn<i32> {
    let lines = wrapped(text, letters_in(width));
    for (at, line) in lines.iter().enumerate() {
        let style = letters(LETTERS, HPos::Left, VPos::Center);
        root.draw(&Text::new(line.clone(), (x, y + whole(at) * DISTANCE), style))?;
    }
    Ok(whole(lines.len()))
}

/// Lines of at most so many letters, as far as words allow it; those of names end with an underscore.
pub(super) fn wrapped(text: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive([' ', '_']) {
        let last = lines.last_mut().expect("there is one from the beginning");
        if !last.is_empty() && last.chars().count() + word.trim_end().chars().count() > letters {
            lines.push(word.to_owned());
        } else {
            last.push_str(word);
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}
