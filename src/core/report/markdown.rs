//! A report as Markdown, in which charts are tables.

use super::chart::{Chart, Series};
use super::document::{Block, Document, Table};
use super::escape::{markdown, visible};
use super::words::count;
use std::fmt::Write;

/// The whole text. The same document gives the same bytes.
pub fn text(document: &Document) -> String {
    let mut text = format!("# {}\n\n", markdown(&document.title));
    for (name, value) in &document.head {
        let _ = writeln!(text, "- {}: {}", markdown(name), markdown(value));
    }
    for block in &document.blocks {
        text.push('\n');
        text.push_str(&self::block(document, block));
    }
    text.push_str("\n---\n");
    for line in &document.foot {
        let _ = writeln!(text, "\n{}", markdown(line));
    }
    text.truncate(text.trim_end().len());
    text
}

fn block(document: &Document, block: &Block) -> String {
    match block {
        Block::Section(title) => format!("## {}\n", markdown(title)),
        Block::Text(text) => format!("{}\n", markdown(text)),
        // Indented: nothing in such a line is markup, and one line cannot end it.
        Block::Code(line) => format!("    {}\n", visible(line)),
        Block::Warnings(title, items) => {
            let items: String = items.iter().map(|item| format!("> - {}\n", markdown(item))).collect();
            format!("> **{}**\n>\n{items}", markdown(title))
        }
        Block::Figures(figures) => figures
            .iter()
            .map(|(name, value, attention)| {
                let mark = if *attention { "**" } else { "" };
                format!("- {}: {mark}{}{mark}\n", markdown(name), markdown(value))
            })
            .collect(),
        Block::Table(table) => self::table(table),
        Block::Chart(title, chart) if chart.is_empty() => {
            format!("{}: {}\n", markdown(title), document.language.of("无。", "none."))
        }
        Block::Chart(title, chart) => self::table(&as_table(title, chart)),
    }
}

fn table(table: &Table) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| markdown(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<&str> =
        (0..table.head.len()).map(|column| if column >= table.numbers { "---:" } else { "---" }).collect();
    let rows: String = table.rows.iter().map(|row| line(row)).collect();
    format!("**{}**\n\n{}| {} |\n{rows}", markdown(&table.title), line(&table.head), rule.join(" | "))
}

/// The figures of a chart. Columns and rows without any are left out.
fn as_table(title: &str, chart: &Chart) -> Table {
    let (head, rows) = match chart {
        Chart::Columns { labels, series } => {
            let value = |series: &Series, at: usize| series.values.get(at).copied().unwrap_or(0);
            let rows = labels.iter().enumerate().filter(|(at, _)| series.iter().any(|series| value(series, *at) > 0));
            let row = |(at, label): (usize, &String)| {
                std::iter::once(label.clone()).chain(series.iter().map(|series| count(value(series, at)))).collect()
            };
            let head = std::iter::once(String::new()).chain(series.iter().map(|series| series.name.clone()));
            (head.collect(), rows.map(row).collect())
        }
        Chart::Bars(bars) => {
            let rows = bars.iter().map(|(name, value)| vec![name.clone(), count(*value)]).collect();
            (vec![String::new(), "∑".to_owned()], rows)
        }
        Chart::Hours { rows, .. } => {
            let head = std::iter::once(String::new()).chain(rows.iter().map(|(name, _)| name.clone()));
            let hours = (0..24).filter(|hour| rows.iter().any(|(_, hours)| hours[*hour] > 0));
            let row = |hour: usize| {
                let figures = rows.iter().map(|(_, hours)| count(hours[hour]));
                std::iter::once(format!("{hour:02}:00")).chain(figures).collect()
            };
            (head.collect(), hours.map(row).collect())
        }
    };
    Table { title: title.to_owned(), head, rows, numbers: 1 }
}
