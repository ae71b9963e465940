//! What the jobs need that needs no database: whether a schedule is one, and what may be kept of a failure. Pure.

/// Fields of a schedule, each with its lowest and highest number.
const FIELDS: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
/// Longest failure that is kept, characters.
const KEPT: usize = 500;

/// Whether every scheduler reads this schedule, and reads it alike: minute, hour, day of the month, month and day of the
/// week, each a list of `*`, numbers and ranges, with a step where it is no single number. No names, no `@daily`.
pub fn is_schedule(schedule: &str) -> bool {
    let fields: Vec<&str> = schedule.split(' ').collect();
    fields.len() == FIELDS.len() && fields.iter().zip(FIELDS).all(|(field, bounds)| is_field(field, bounds))
}

fn is_field(field: &str, (low, high): (u32, u32)) -> bool {
    let number = |text: &str| {
        let short = (1..=2).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| short)
    };
    let inside = |text: &str| number(text).filter(|number| (low..=high).contains(number));
    field.split(',').all(|part| {
        let (span, step) = match part.split_once('/') {
            Some((span, step)) => (span, Some(step)),
            None => (part, None),
        };
        let step_fits = step.is_none_or(|step| number(step).is_some_and(|step| (1..=high).contains(&step)));
        let span_fits = match span.split_once('-') {
            Some((from, to)) => inside(from).zip(inside(to)).is_some_and(|(from, to)| from <= to),
            None => span == "*" || step.is_none() && inside(span).is_some(),
        };
        span_fits && step_fits
    })
}

/// What opens a quotation in the server's messages, and what closes it, in any of its languages.
const QUOTES: [(char, char); 5] = [('"', '"'), ('\'', '\''), ('“', '”'), ('„', '“'), ('«', '»')];

/// An error's message without what it quotes, which may be a value of somebody's data; and not endless. A value may hold
/// the quote itself: all goes from the first to the last one, or to the end where none closes.
pub fn without_quoted(message: &str) -> String {
    let mut kept = String::new();
    let mut rest = message;
    while let Some(at) = rest.find(|character| QUOTES.iter().any(|(open, _)| *open == character)) {
        let (before, quoted) = rest.split_at(at);
        let mut inside = quoted.chars();
        let open = inside.next().unwrap_or_default();
        let close = QUOTES.iter().find(|(known, _)| *known == open).map_or(open, |(_, close)| *close);
        kept.push_str(before);
        kept.push(open);
        kept.push('…');
        rest = match inside.as_str().rsplit_once(close) {
            Some((_, behind)) => {
                kept.push(close);
                behind
            }
            None => "",
        };
    }
    kept.push_str(rest);
    kept.chars().take(KEPT).collect()
}
