//! Reports, the pure part: what is counted over the records of a period, what a report says about it, and how that is
//! shown as a page or as Markdown.
//!
//! A report is first a [`document::Document`] of plain texts and figures; only `html` and `markdown` turn it into markup,
//! and they escape every text, whoever wrote it. Never here: a value of a table, a statement's text, a clock.

pub mod chart;
pub mod control;
pub mod document;
pub mod escape;
pub mod figures;
pub mod html;
pub mod markdown;
pub mod material;
pub mod security;
pub mod stretch;
pub mod unknown;
pub mod words;
pub mod zone;
