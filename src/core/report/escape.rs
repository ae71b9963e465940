//! Texts as parts of markup. Names of tables, roles and persons are chosen by those whom a report is about.

use super::super::script::hides;

/// A text in which nothing hides: what a reader would not see, or what would show the rest in another order, is named. One
/// line.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' | '\n' | '\r' => shown.push(' '),
            _ if hides(character) => shown.push_str(&format!("⟨U+{:04X}⟩", character as u32)),
            _ => shown.push(character),
        }
    }
    shown
}

/// A text as part of an HTML element or of a quoted attribute.
pub fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in visible(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '`' => escaped.push_str("&#96;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// A text as part of a line or a table cell of Markdown (CommonMark and GitHub's): no markup, no HTML, no address that
/// would become a link by itself.
pub fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let visible = visible(text);
    let mut characters = visible.chars().peekable();
    let mut before = ['\0'; 3];
    while let Some(character) = characters.next() {
        let first = escaped.is_empty();
        let links = match character {
            ':' => characters.peek() == Some(&'/'),
            '.' => before.iter().all(|letter| letter.eq_ignore_ascii_case(&'w')),
            _ => false,
        };
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '@' | '$' | '!' => escaped.extend(['\\', character]),
            '#' | '-' | '+' | '=' if first => escaped.extend(['\\', character]),
            _ if links => escaped.extend(['\\', character]),
            _ => escaped.push(character),
        }
        before = [before[1], before[2], character];
    }
    escaped
}
