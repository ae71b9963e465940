//! A report before it has a form: titles, sentences, tables and charts of plain text and figures, in any characters.

use super::chart::Chart;
use super::words::Language;

/// A whole report.
#[derive(Clone, Debug)]
pub struct Document {
    pub language: Language,
    pub title: String,
    /// What the report is about: period, database, when and for whom it was made.
    pub head: Vec<(String, String)>,
    pub blocks: Vec<Block>,
    /// Lines at the end.
    pub foot: Vec<String>,
}

/// A part of it.
#[derive(Clone, Debug)]
pub enum Block {
    Section(String),
    Text(String),
    /// A line that is copied as it stands.
    Code(String),
    /// What the reader must know before believing the rest.
    Warnings(String, Vec<String>),
    /// Single figures: what, how many, and whether it asks for somebody's attention.
    Figures(Vec<(String, String, bool)>),
    Table(Table),
    Chart(String, Chart),
}

/// Rows of texts under a head; columns from `numbers` on are figures.
#[derive(Clone, Debug)]
pub struct Table {
    pub title: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
    pub numbers: usize,
}
