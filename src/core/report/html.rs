//! A report as one HTML file: style and charts are in it, no script, nothing is fetched, and the policy in its head
//! forbids both should anything ever slip through.

use super::document::{Block, Document, Table};
use super::escape::html;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// The whole page. The same document gives the same bytes.
pub fn page(document: &Document) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        document.language.code(),
        html(&document.title)
    );
    let _ = writeln!(page, "<header>\n<h1>{}</h1>\n<dl>", html(&document.title));
    for (name, value) in &document.head {
        let _ = writeln!(page, "<div><dt>{}</dt><dd>{}</dd></div>", html(name), html(value));
    }
    page.push_str("</dl>\n</header>\n<main>\n");
    for block in &document.blocks {
        page.push_str(&self::block(document, block));
    }
    page.push_str("</main>\n<footer>\n");
    for line in &document.foot {
        let _ = writeln!(page, "<p>{}</p>", html(line));
    }
    page.push_str("</footer>\n</body>\n</html>");
    page
}

fn block(document: &Document, block: &Block) -> String {
    match block {
        Block::Section(title) => format!("<h2>{}</h2>\n", html(title)),
        Block::Text(text) => format!("<p>{}</p>\n", html(text)),
        Block::Code(line) => format!("<pre>{}</pre>\n", html(line)),
        Block::Warnings(title, items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", html(item))).collect();
            format!("<section class=\"warning\">\n<h3>{}</h3>\n<ul>\n{items}</ul>\n</section>\n", html(title))
        }
        Block::Figures(figures) => {
            let tile = |(name, value, attention): &(String, String, bool)| {
                let class = if *attention { " class=\"attention\"" } else { "" };
                format!("<div{class}><dd>{}</dd><dt>{}</dt></div>\n", html(value), html(name))
            };
            format!("<dl class=\"tiles\">\n{}</dl>\n", figures.iter().map(tile).collect::<String>())
        }
        Block::Table(table) => self::table(table),
        Block::Chart(title, chart) if chart.is_empty() => {
            format!("<p class=\"none\">{}: {}</p>\n", html(title), document.language.of("无。", "none."))
        }
        Block::Chart(title, chart) => {
            let caption = html(title);
            format!(
                "<figure>\n<figcaption>{caption}</figcaption>\n{}\n</figure>\n",
                chart.svg(document.language, title)
            )
        }
    }
}

fn table(table: &Table) -> String {
    let cell = |tag: &str, at: usize, text: &str| {
        let class = if at >= table.numbers { " class=\"number\"" } else { "" };
        format!("<{tag}{class}>{}</{tag}>", html(text))
    };
    let row = |tag: &str, cells: &[String]| {
        let cells: String = cells.iter().enumerate().map(|(at, text)| cell(tag, at, text)).collect();
        format!("<tr>{cells}</tr>\n")
    };
    format!(
        "<table>\n<caption>{}</caption>\n<thead>{}</thead>\n<tbody>\n{}</tbody>\n</table>\n",
        html(&table.title),
        row("th", &table.head),
        table.rows.iter().map(|cells| row("td", cells)).collect::<String>()
    )
}
