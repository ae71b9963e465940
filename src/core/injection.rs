//! Patterns of injected SQL in the text of a statement as records keep it, without its constants. Cheap and coarse: it
//! opens an alert and refuses nothing. Pure. Requirement 177.
//!
//! What an ORM or a query builder writes must not look like one: `WHERE 1 = 1` before further conditions, optional filters
//! `(? IS NULL OR name = ?)` and casts of constants are nobody's attack.

/// What a text looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// `OR 1 = 1`, `OR 'a' LIKE 'a'`, `OR id = id`, `OR true`: a condition that holds for every row.
    pub tautology: bool,
    /// A second query, attached with UNION, that reads the catalog, or constants only.
    pub union: bool,
    /// Reads where passwords are kept, beside a table of the application.
    pub secrets: bool,
}

impl Patterns {
    /// Those of a text.
    pub fn of(text: &str) -> Patterns {
        Patterns::measured(text).0
    }

    /// The same, and how many tokens were looked at for it: whoever writes the text must not choose how long that takes.
    pub fn measured(text: &str) -> (Patterns, usize) {
        if !may_have_any(text) {
            return (Patterns::default(), 0);
        }
        let text = text.to_lowercase();
        let tokens = tokens(&text);
        let mut steps = tokens.len();
        let (sources, looked_at) = sources(&tokens);
        steps += looked_at;
        let of_the_application = sources.iter().filter(|source| !source.is_catalog()).map(|source| source.place).min();
        let of_the_catalog = sources.iter().filter(|source| source.is_catalog()).map(|source| source.place).max();
        let mut found = Patterns::default();
        for (place, token) in tokens.iter().enumerate() {
            let rest = &tokens[place + 1..];
            match token {
                Token::Word("or") => {
                    let (always_true, left) = is_always_true(rest);
                    found.tautology |= always_true;
                    steps += rest.len() - left.len();
                }
                Token::Word("union") if of_the_application.is_some_and(|read| read < place) => {
                    let (nulls, left) = is_of_nulls(rest);
                    found.union |= nulls || of_the_catalog.is_some_and(|read| read > place);
                    steps += rest.len() - left.len();
                }
                _ => (),
            }
        }
        let secret = |source: &Source<'_>| source.is_catalog() && SECRETS.contains(&source.name);
        found.secrets = of_the_application.is_some() && sources.iter().any(secret);
        (found, steps)
    }

    /// Their names; none if it looks harmless.
    pub fn names(self) -> Vec<&'static str> {
        let all = [(self.tautology, "tautology"), (self.union, "union"), (self.secrets, "secrets")];
        all.into_iter().filter(|(found, _)| *found).map(|(_, name)| name).collect()
    }

    pub fn any(self) -> bool {
        self != Patterns::default()
    }
}

/// Relations of the catalog that hold passwords.
const SECRETS: [&str; 4] = ["pg_authid", "pg_shadow", "pg_user_mapping", "pg_user_mappings"];

/// A look at the bytes: most texts have none of the words.
fn may_have_any(text: &str) -> bool {
    let has = |word: &[u8]| text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    has(b"or") || has(b"union") || SECRETS.iter().any(|name| has(name.as_bytes()))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    /// A keyword or a name without its quotes.
    Word(&'a str),
    /// What stands for a constant.
    Constant,
    Parameter,
    Symbol(&'a str),
}

/// Tokens that are looked at: more than people write, and few enough to read in passing.
const MOST_TOKENS: usize = 8192;

/// Cuts a redacted text, which is in lower case already.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next().filter(|_| tokens.len() < MOST_TOKENS) {
        let end_of = |belongs: fn(char) -> bool| rest.find(|c: char| !belongs(c)).unwrap_or(rest.len());
        let (token, length) = match first {
            '?' => (Token::Constant, 1),
            '$' => (Token::Parameter, 1 + rest[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - 1)),
            '"' => {
                let inside = rest[1..].find('"').unwrap_or(rest.len() - 1);
                (Token::Word(&rest[1..1 + inside]), (inside + 2).min(rest.len()))
            }
            _ if is_name(first) => (Token::Word(&rest[..end_of(is_name)]), end_of(is_name)),
            _ if is_operator(first) => (Token::Symbol(&rest[..end_of(is_operator)]), end_of(is_operator)),
            _ => (Token::Symbol(&rest[..first.len_utf8()]), first.len_utf8()),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_operator(c: char) -> bool {
    "+-*/<>=~!@#%^&|".contains(c)
}

/// Whether a condition holds whatever the row: two constants compared, a column with itself, `true`; and what is left
/// behind what was looked at.
fn is_always_true<'a, 't>(mut rest: &'t [Token<'a>]) -> (bool, &'t [Token<'a>]) {
    while let [Token::Symbol("(") | Token::Word("not"), inside @ ..] = rest {
        rest = inside;
    }
    match rest {
        [Token::Word("true"), rest @ ..] => (ends(rest), rest),
        [Token::Constant, Token::Word("between"), Token::Constant, Token::Word("and"), Token::Constant, rest @ ..] => {
            (ends(rest), rest)
        }
        [Token::Constant, Token::Word("in"), Token::Symbol("("), Token::Constant, rest @ ..] => (true, rest),
        [Token::Constant, comparison, Token::Constant, rest @ ..] => (compares(comparison) && ends(rest), rest),
        [Token::Word(_), ..] => {
            let (left, rest) = name(rest);
            let [Token::Symbol("=") | Token::Word("like"), rest @ ..] = rest else { return (false, rest) };
            let (right, rest) = name(rest);
            (!left.is_empty() && left == right && ends(rest), rest)
        }
        _ => (false, rest),
    }
}

fn compares(token: &Token<'_>) -> bool {
    matches!(token, Token::Symbol("=" | "<" | ">" | "<=" | ">=" | "<>" | "!=" | "~") | Token::Word("like" | "ilike"))
}

/// Whether a condition is over here: nothing goes on with its last operand.
fn ends(rest: &[Token<'_>]) -> bool {
    const FOLLOW: [&str; 10] =
        ["and", "or", "group", "order", "limit", "offset", "union", "having", "returning", "for"];
    match rest.first() {
        None | Some(Token::Symbol(")" | ";")) => true,
        Some(Token::Word(word)) => FOLLOW.contains(word),
        Some(_) => false,
    }
}

/// The parts of a name that may be qualified, and what follows it.
fn name<'a, 't>(mut rest: &'t [Token<'a>]) -> (Vec<&'a str>, &'t [Token<'a>]) {
    let mut parts = Vec::new();
    while let [Token::Word(part), after @ ..] = rest {
        parts.push(*part);
        rest = after;
        match rest {
            [Token::Symbol("."), after @ ..] => rest = after,
            _ => break,
        }
    }
    (parts, rest)
}

/// What a query reads from, by name, and at which token.
struct Source<'a> {
    schema: Option<&'a str>,
    name: &'a str,
    place: usize,
}

impl Source<'_> {
    fn is_catalog(&self) -> bool {
        match self.schema {
            Some(schema) => matches!(schema, "pg_catalog" | "information_schema"),
            None => self.name.starts_with("pg_"),
        }
    }
}

/// What follows FROM, JOIN, UPDATE and INTO, and the commas of a list; with the number of tokens looked at. Each place is
/// marked at most once, so that a list is walked once however many words seem to begin it.
fn sources<'a>(tokens: &[Token<'a>]) -> (Vec<Source<'a>>, usize) {
    let mut found = Vec::new();
    let mut steps = 0;
    let mut begins = vec![false; tokens.len() + 1];
    for (place, token) in tokens.iter().enumerate() {
        begins[place + 1] |= matches!(token, Token::Word("from" | "join" | "update" | "into"));
        if !begins[place] {
            continue;
        }
        let mut rest = &tokens[place..];
        if let [Token::Word("only" | "lateral"), after @ ..] = rest {
            rest = after;
        }
        let (parts, after) = name(rest);
        steps += parts.len() * 2 + 3;
        let Some((last, qualifiers)) = parts.split_last() else { continue };
        found.push(Source { schema: qualifiers.last().copied(), name: last, place });
        // An alias, then perhaps the next one.
        let alias = after.iter().take_while(|token| matches!(token, Token::Word(_))).take(2).count();
        if let [Token::Symbol(","), next @ ..] = &after[alias..] {
            begins[tokens.len() - next.len()] = true;
        }
    }
    (found, steps)
}

/// A query of constants with several NULLs: how an attacker finds out how many columns there are; and what is left behind
/// what was looked at.
fn is_of_nulls<'a, 't>(mut rest: &'t [Token<'a>]) -> (bool, &'t [Token<'a>]) {
    while let [Token::Word("all" | "distinct" | "select") | Token::Symbol("("), after @ ..] = rest {
        rest = after;
    }
    let listed = |token: &Token<'_>| matches!(token, Token::Word("null") | Token::Constant | Token::Symbol(","));
    let (list, left) = rest.split_at(rest.iter().take_while(|token| listed(token)).count());
    (list.iter().filter(|token| **token == Token::Word("null")).count() > 1 && ends(left), left)
}
