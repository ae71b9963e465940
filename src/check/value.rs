//! What a check asks of one value, called for every row: nothing is compiled twice.

use crate::backend::backend_local;
use crate::core::check::Number;
use crate::error::{Fault, Outcome, answer};
use pgrx::prelude::*;
use regex::Regex;
use regex_automata::Input;
use regex_automata::dfa::{Automaton, StartKind, dense};
use std::cell::RefCell;
use std::rc::Rc;

/// Patterns kept for each backend: as many as a run has format checks of one table, and then some.
const KEPT: usize = 64;

backend_local! {
    static PATTERNS: RefCell<Vec<(String, Rc<Pattern>)>> = const { RefCell::new(Vec::new()) };
}

/// A regular expression, and the same as a table of states, which takes a look-up for each byte; None where the table
/// would become large, or does not know what the expression asks.
pub struct Pattern {
    table: Option<dense::DFA<Vec<u32>>>,
    regex: Regex,
}

/// Bytes of a table, and of what it takes to make it.
const TABLE: usize = 1 << 20;

impl Pattern {
    fn table(pattern: &str) -> Option<dense::DFA<Vec<u32>>> {
        let config = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(TABLE))
            .determinize_size_limit(Some(4 * TABLE));
        dense::Builder::new().configure(config).build(pattern).ok()
    }

    pub fn is_match(&self, value: &str) -> bool {
        let by_table = self.table.as_ref().map(|table| table.try_search_fwd(&Input::new(value).earliest(true)));
        match by_table {
            Some(Ok(found)) => found.is_some(),
            _ => self.regex.is_match(value),
        }
    }
}

/// The crate's expressions take time in proportion to the value, whatever the pattern: PostgreSQL's own can take for ever.
pub fn compile(pattern: &str) -> Outcome<Rc<Pattern>> {
    let kept = PATTERNS.with(|kept| {
        let mut kept = kept.borrow_mut();
        let place = kept.iter().position(|(text, _)| text == pattern)?;
        // The one that was asked last is asked next: it is found at once.
        kept[..=place].rotate_right(1);
        Some(kept[0].1.clone())
    });
    if let Some(regex) = kept {
        return Ok(regex);
    }
    let regex = Regex::new(pattern).map_err(|error| {
        Fault::bad_argument("the regular expression does not compile")
            .detail(error.to_string())
            .hint("Its syntax is that of https://docs.rs/regex: no back references and no look-around.")
    })?;
    let regex = Rc::new(Pattern { table: Pattern::table(pattern), regex });
    PATTERNS.with(|kept| {
        let mut kept = kept.borrow_mut();
        kept.insert(0, (pattern.to_owned(), regex.clone()));
        kept.truncate(KEPT);
    });
    Ok(regex)
}

#[pg_extern(sql = false)]
fn _matches(value: &str, pattern: &str) -> bool {
    answer(compile(pattern)).is_match(value)
}

#[pg_extern(sql = false)]
fn _has_check_digit(value: &str, number: &str) -> bool {
    let known = Number::from_name(number);
    let unknown = || Fault::bad_argument(format!("\"{number}\" is no number with a check digit"));
    answer(known.ok_or_else(unknown)).holds(value)
}
