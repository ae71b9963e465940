//! One statement in every way in which a client can send it: a simple query with its values in the text; Parse, Bind and
//! Execute without a name; a named statement that is executed until the server has decided between a plan for each time
//! and one for all; the same with one plan for all demanded.

use super::tells;
use crate::school::{HOME, School};
use crate::wire::{Reply, Wire};

/// After so many executions the server has chosen a plan: five are planned with the values.
const EXECUTIONS: usize = 7;

/// Of the named statement.
const NAME: &str = "driven";

/// What has to come of a statement; in no case is anything told that is hidden.
#[derive(Clone, Copy, Debug)]
pub enum Must {
    /// The mask of a phone number is shown, in a row or a notice.
    Mask,
    /// Exactly these rows.
    Show(&'static str),
    /// 42501 with these words.
    Refuse(&'static str),
    /// An error with this SQLSTATE.
    Fail(&'static str),
}

use Must::*;

impl Must {
    #[track_caller]
    pub fn judge(self, how: &str, query: &str, reply: &Reply) {
        let text = reply.text();
        assert!(!tells(&text), "{how}: {query} tells {text}");
        let (code, told) = (reply.code.as_deref(), format!("{how}: {query}: {reply:?}"));
        match self {
            Mask => assert!(code.is_none() && text.contains("138****"), "{told}"),
            Show(rows) => assert!(code.is_none() && reply.rows.trim_end() == rows, "{told}"),
            Refuse(words) => assert!(code == Some("42501") && reply.error.contains(words), "{told}"),
            Fail(expected) => assert!(code == Some(expected), "{told}"),
        }
    }
}

/// A statement with values for `$1`, `$2`…, and what it must do.
pub type Case<'a> = (&'a str, &'a [&'a str], Must);

pub fn wire(school: &School, login: &str) -> Wire {
    Wire::connect(school, login, HOME)
}

/// In every protocol, each execution in a transaction that is rolled back; `follow` asks on in that transaction.
#[track_caller]
pub fn everywhere(
    session: &mut Wire,
    query: &str,
    values: &[&str],
    follow: &mut dyn FnMut(&mut Wire, &'static str, &Reply),
) {
    let mut once = |session: &mut Wire, how, send: &mut dyn FnMut(&mut Wire) -> Reply| {
        session.command("BEGIN");
        let reply = send(session);
        follow(session, how, &reply);
        session.command("ROLLBACK");
        reply
    };
    once(session, "simple", &mut |session| session.simple(&written_out(query, values)));
    once(session, "unnamed", &mut |session| session.unnamed(query, values));
    for (how, mode, times) in [("named", "auto", EXECUTIONS), ("generic", "force_generic_plan", 2)] {
        session.command(&format!("SET plan_cache_mode = {mode}"));
        let parsed = session.parse(NAME, query);
        if parsed.code.is_some() {
            once(session, how, &mut |_| parsed.clone());
            continue;
        }
        let last = (0..times).map(|_| once(session, how, &mut |session| session.execute(NAME, values))).last();
        if last.is_some_and(|reply| reply.code.is_none()) && mode != "auto" && has_plan(query) {
            let kept = session.command("SELECT generic_plans > 0 FROM pg_prepared_statements WHERE name = 'driven'");
            assert_eq!(kept.rows, "t\n", "{query} has no plan that is kept");
        }
        session.command("DEALLOCATE driven");
    }
    session.command("RESET plan_cache_mode");
}

/// Each of these in every protocol.
#[track_caller]
pub fn hold(session: &mut Wire, cases: &[Case<'_>]) {
    for (query, values, must) in cases {
        everywhere(session, query, values, &mut |_, how, reply| must.judge(how, query, reply));
    }
}

/// Not a command of its own, which is never planned as a whole.
fn has_plan(query: &str) -> bool {
    ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE"].iter().any(|word| query.starts_with(word))
}

/// The text with its values; the highest number first, because `$1` is part of `$10`.
fn written_out(query: &str, values: &[&str]) -> String {
    let with = |text: String, (number, value): (usize, &&str)| {
        text.replace(&format!("${}", number + 1), &format!("'{}'", value.replace('\'', "''")))
    };
    values.iter().enumerate().rev().fold(query.to_owned(), with)
}
