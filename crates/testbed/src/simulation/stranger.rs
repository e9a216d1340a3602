//! Somebody between agent and control plane who answers in its place: a proxy, a captive portal, a web server.
//!
//! A stranger's answer is bytes with a status, a content type and headers, as it comes off the wire. It never carries
//! the echo of the agent's session, which only our server gives; whatever else it says is for the agent's rules to judge.

use super::dice::Dice;
use jiff::SignedDuration;
use std::time::Duration;

/// Statuses of strangers, and how they are counted.
const STATUSES: [(u16, &str); 15] = [
    (200, "stranger answers 200"),
    (204, "stranger answers 204"),
    (301, "stranger answers 301"),
    (302, "stranger answers 302"),
    (400, "stranger answers 400"),
    (401, "stranger answers 401"),
    (403, "stranger answers 403"),
    (404, "stranger answers 404"),
    (407, "stranger answers 407"),
    (409, "stranger answers 409"),
    (413, "stranger answers 413"),
    (429, "stranger answers 429"),
    (500, "stranger answers 500"),
    (502, "stranger answers 502"),
    (503, "stranger answers 503"),
];
/// `Retry-After` of some strangers.
const AN_HOUR: Duration = Duration::from_secs(3_600);
/// Hours by which a stranger's clock may be wrong.
const WRONG_HOURS: [i64; 5] = [0, 0, -9_000, 5, 9_000];

/// One way to answer in the control plane's place.
#[derive(Clone, Copy, Debug)]
pub struct Stranger {
    status: u16,
    page: Page,
    retry_after: Option<Duration>,
    clock_error: SignedDuration,
}

/// What a stranger's answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Html,
    Text,
    Empty,
    /// `{}`: of a success it may be a poll without jobs.
    Braces,
    /// JSON of another program.
    Foreign,
    /// JSON that ends too soon.
    Truncated,
    /// JSON in the form of the protocol's errors.
    Problem,
}

/// An answer as it comes off the wire.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`; empty if there is none.
    pub content_type: &'static str,
    /// The body.
    pub body: &'static [u8],
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// By how much `Date` differs from the time of day.
    pub clock_error: SignedDuration,
}

/// Somebody stands between the two for a while.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    /// The one answer that is given; `None`: another one each time.
    only: Option<Stranger>,
    /// Whether answers in the protocol's form are among them.
    in_form: bool,
    /// How many of a thousand calls the stranger answers.
    answers: u64,
}

impl Spell {
    /// Draws who stands there. Without `in_form` no answer is in the protocol's form: a plain v1 control plane is believed
    /// by form alone, and so would such a stranger be.
    pub fn draw(dice: &Dice, in_form: bool) -> Self {
        let only = dice.happens(600).then(|| Stranger::draw(dice, in_form));
        let answers = if dice.happens(700) { 1_000 } else { 100 + dice.roll(800) };
        Self { only, in_form, answers }
    }

    /// The same, of one who lets nothing through. A plain v1 control plane that answers polls is believed in the end even out of
    /// form, so that nobody who does the same could be told from it.
    pub fn total(self) -> Self {
        Self { answers: 1_000, ..self }
    }

    /// Whether the stranger answers this call, and how.
    pub fn answers(&self, dice: &Dice) -> Option<Stranger> {
        let stranger = || self.only.unwrap_or_else(|| Stranger::draw(dice, self.in_form));
        dice.happens(self.answers).then(stranger)
    }
}

impl Stranger {
    /// Draws an answer; see [`Spell::draw`].
    pub fn draw(dice: &Dice, in_form: bool) -> Self {
        let status = dice.pick(&STATUSES).map_or(502, |(status, _)| *status);
        let pages: &[Page] = match status {
            204 => &[Page::Empty],
            200 => &[Page::Html, Page::Text, Page::Empty, Page::Braces, Page::Foreign, Page::Truncated],
            _ => &[Page::Html, Page::Text, Page::Empty, Page::Foreign, Page::Truncated, Page::Problem],
        };
        let page = dice.pick(pages).copied().unwrap_or(Page::Html);
        let retry_after = matches!(status, 429 | 503).then_some(AN_HOUR).filter(|_| dice.happens(500));
        let wrong = dice.pick(&WRONG_HOURS).copied().unwrap_or(0);
        let drawn = Self { status, page, retry_after, clock_error: SignedDuration::from_hours(wrong) };
        if in_form || !drawn.may_be_in_form() { drawn } else { drawn.as_web_page() }
    }

    /// The name under which it is counted.
    pub fn name(&self) -> &'static str {
        let counted = STATUSES.iter().find(|(status, _)| *status == self.status);
        counted.map_or("stranger answers", |(_, name)| *name)
    }

    /// What the agent reads.
    pub fn answer(&self) -> RawAnswer {
        let (content_type, body): (_, &'static [u8]) = match self.page {
            Page::Html => ("text/html; charset=utf-8", b"<!doctype html><h1>Sign in to go on</h1>"),
            Page::Text => ("text/plain", b"no healthy upstream"),
            Page::Empty => ("", b""),
            Page::Braces => ("application/json", b"{}"),
            Page::Foreign => ("application/json", br#"{"status":"down","code":17}"#),
            Page::Truncated => ("application/json", br#"{"error":"unauthentica"#),
            Page::Problem => {
                ("application/json", br#"{"error":"denied","message":"this gateway knows you not"}"#)
            }
        };
        let Self { status, retry_after, clock_error, .. } = *self;
        RawAnswer { status, content_type, body, retry_after, clock_error }
    }

    fn may_be_in_form(self) -> bool {
        match self.page {
            Page::Problem => true,
            Page::Html | Page::Text | Page::Truncated => false,
            Page::Empty => self.status == 204,
            Page::Braces | Page::Foreign => (200..300).contains(&self.status),
        }
    }

    fn as_web_page(self) -> Self {
        let status = if self.status == 204 { 200 } else { self.status };
        Self { status, page: Page::Html, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stranger_is_never_in_form_where_form_alone_is_believed() {
        let dice = Dice::new(7);
        for _ in 0..5_000 {
            assert!(!Stranger::draw(&dice, false).may_be_in_form());
        }
    }

    #[test]
    fn stranger_answers_with_each_status_and_page() {
        let dice = Dice::new(7);
        let (mut statuses, mut pages) = (std::collections::BTreeSet::new(), Vec::new());
        for _ in 0..5_000 {
            let stranger = Stranger::draw(&dice, true);
            statuses.insert(stranger.status);
            if !pages.contains(&stranger.page) {
                pages.push(stranger.page);
            }
        }
        assert_eq!((statuses.len(), pages.len()), (STATUSES.len(), 7));
    }
}
