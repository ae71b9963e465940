//! Charts as inline SVG. Colours and type come from the page's style; each mark carries its figure as a tooltip, and for
//! readers that see no picture.

use super::escape::html;
use super::words::{Language, count};
use std::fmt::Write;

/// What is drawn.
#[derive(Clone, Debug)]
pub enum Chart {
    /// Series stacked upon each other, one column for each label.
    Columns { labels: Vec<String>, series: Vec<Series> },
    /// One bar for each name, longest first as they come.
    Bars(Vec<(String, u64)>),
    /// Rows of 24 hours; the hours that are marked are those that work is not done in.
    Hours { rows: Vec<(String, [u64; 24])>, marked: [bool; 24] },
}

/// One series of a column chart.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub tone: Tone,
    pub values: Vec<u64>,
}

/// How much a series asks for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Calm,
    Notice,
    Serious,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Plain => "plain",
            Tone::Calm => "calm",
            Tone::Notice => "notice",
            Tone::Serious => "serious",
        }
    }
}

/// Width of every chart, in the units of its own picture.
const WIDTH: f64 = 720.0;
/// Room at the left of columns and hours, for what is written there.
const LEFT: f64 = 52.0;
/// Height of the columns.
const HEIGHT: f64 = 150.0;
/// Where they stand; above them is room for the scale's highest figure.
const GROUND: f64 = HEIGHT + 12.0;
/// Labels under columns that find room.
const LABELS: usize = 9;

impl Chart {
    /// Nothing to be drawn: every figure is 0.
    pub fn is_empty(&self) -> bool {
        match self {
            Chart::Columns { series, .. } => series.iter().all(|series| series.values.iter().all(|value| *value == 0)),
            Chart::Bars(bars) => bars.iter().all(|(_, value)| *value == 0),
            Chart::Hours { rows, .. } => rows.iter().all(|(_, hours)| hours.iter().all(|value| *value == 0)),
        }
    }

    /// As an SVG element; `title` is what it shows.
    pub fn svg(&self, language: Language, title: &str) -> String {
        let (height, body) = match self {
            Chart::Columns { labels, series } => (GROUND + 40.0, columns(labels, series)),
            Chart::Bars(bars) => (bars.len() as f64 * 22.0 + 4.0, self::bars(bars)),
            Chart::Hours { rows, marked } => (rows.len() as f64 * 20.0 + 22.0, hours(language, rows, marked)),
        };
        format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n{body}</svg>", html(title))
    }
}

fn columns(labels: &[String], series: &[Series]) -> String {
    let mut svg = String::new();
    let total = |at: usize| series.iter().map(|series| series.values.get(at).copied().unwrap_or(0)).sum::<u64>();
    let top = ceiling((0..labels.len()).map(total).max().unwrap_or(0));
    for part in 0..=2_u32 {
        let y = GROUND - HEIGHT * f64::from(part) / 2.0;
        let value = if part == 1 { top / 2 } else { top * u64::from(part) / 2 };
        if part == 1 && top % 2 == 1 {
            continue;
        }
        let _ = writeln!(svg, "<path class=\"rule\" d=\"M{LEFT} {y:.1}H{WIDTH}\"/>");
        let _ =
            writeln!(svg, "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", LEFT - 6.0, y + 4.0, count(value));
    }
    let step = (WIDTH - LEFT) / labels.len().max(1) as f64;
    let (gap, width) = (step * 0.1, (step * 0.8).min(40.0));
    let stride = labels.len().div_ceil(LABELS).max(1);
    for (at, label) in labels.iter().enumerate() {
        let x = LEFT + step * at as f64 + if width < step * 0.8 { (step - width) / 2.0 } else { gap };
        let mut y = GROUND;
        for series in series {
            let value = series.values.get(at).copied().unwrap_or(0);
            if value == 0 {
                continue;
            }
            let height = (HEIGHT * value as f64 / top.max(1) as f64).max(1.0);
            y -= height;
            let _ = writeln!(
                svg,
                "<rect class=\"{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{} · {}: {}</title></rect>",
                series.tone.class(),
                html(label),
                html(&series.name),
                count(value)
            );
        }
        if at % stride == 0 {
            let _ = writeln!(
                svg,
                "<text class=\"mid\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + width / 2.0,
                GROUND + 15.0,
                html(label)
            );
        }
    }
    svg.push_str(&legend(series));
    svg
}

fn legend(series: &[Series]) -> String {
    let mut svg = String::new();
    let mut x = LEFT;
    for series in series {
        let (y, total) = (GROUND + 34.0, series.values.iter().sum::<u64>());
        let text = format!("{} {}", series.name, count(total));
        let _ = writeln!(
            svg,
            "<rect class=\"{}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\"/>",
            series.tone.class(),
            y - 9.0
        );
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{y:.1}\">{}</text>", x + 15.0, html(&text));
        x += 15.0 + extent(&text) + 18.0;
    }
    svg
}

fn bars(bars: &[(String, u64)]) -> String {
    /// Room for the names, and for the figures behind the bars.
    const NAMES: f64 = 190.0;
    const FIGURES: f64 = 70.0;
    let mut svg = String::new();
    let longest = bars.iter().map(|(_, value)| *value).max().unwrap_or(0).max(1);
    for (at, (name, value)) in bars.iter().enumerate() {
        let y = at as f64 * 22.0 + 2.0;
        let width = ((WIDTH - NAMES - FIGURES) * *value as f64 / longest as f64).max(1.0);
        let shown = shortened(name, NAMES - 10.0);
        let _ = writeln!(
            svg,
            "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}<title>{}</title></text>",
            NAMES - 8.0,
            y + 14.0,
            html(&shown),
            html(name)
        );
        let _ = writeln!(
            svg,
            "<rect class=\"calm\" x=\"{NAMES}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"15\"/>",
            y + 2.0
        );
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", NAMES + width + 6.0, y + 14.0, count(*value));
    }
    svg
}

fn hours(language: Language, rows: &[(String, [u64; 24])], marked: &[bool; 24]) -> String {
    let mut svg = String::new();
    let most = rows.iter().flat_map(|(_, hours)| hours).copied().max().unwrap_or(0).max(1);
    let step = (WIDTH - LEFT) / 24.0;
    for (row, (name, hours)) in rows.iter().enumerate() {
        let y = row as f64 * 20.0 + 2.0;
        let _ =
            writeln!(svg, "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", LEFT - 8.0, y + 13.0, html(name));
        for (hour, value) in hours.iter().enumerate() {
            // Few must still be seen beside many.
            let share = (*value as f64 / most as f64).sqrt();
            let opacity = if *value == 0 { 0.05 } else { 0.15 + 0.85 * share };
            let class = if marked[hour] { "serious" } else { "calm" };
            let x = LEFT + step * hour as f64;
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" fill-opacity=\"{opacity:.2}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"18\" rx=\"2\"><title>{} {hour:02}:00 · {}</title></rect>",
                x + 1.0,
                step - 2.0,
                html(name),
                count(*value)
            );
        }
    }
    for hour in (0..24).step_by(3) {
        let (x, y) = (LEFT + step * (hour as f64 + 0.5), rows.len() as f64 * 20.0 + 17.0);
        let _ =
            writeln!(svg, "<text class=\"mid\" x=\"{x:.1}\" y=\"{y:.1}\">{hour:02}{}</text>", language.of("时", ":00"));
    }
    svg
}

/// A round number at which a scale may end: 1, 2 or 5 times a power of ten.
fn ceiling(highest: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let end = power.saturating_mul(factor);
            if end >= highest {
                return end;
            }
        }
        power = power.saturating_mul(10);
    }
}

/// About how wide a text is at the size of the charts.
fn extent(text: &str) -> f64 {
    text.chars().map(|character| if character.is_ascii() { 6.6 } else { 12.0 }).sum()
}

/// As much of a text as finds room.
fn shortened(text: &str, room: f64) -> String {
    if extent(text) <= room {
        return text.to_owned();
    }
    let mut taken = 12.0;
    let fits = |character: &char| {
        taken += if character.is_ascii() { 6.6 } else { 12.0 };
        taken <= room
    };
    text.chars().take_while(fits).chain(['…']).collect()
}
