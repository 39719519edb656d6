//! How much of a conversation a model is told: the newest lines that fit its budget, in the order that models demand.

use super::{Message, Role};

/// What a message costs besides its text: its role and its marks.
const PER_MESSAGE: usize = 4;

/// What every prompt of a server begins with, and how long it may become.
#[derive(Clone, Debug)]
pub struct History {
    /// The persona; empty for none.
    pub system_prompt: String,
    /// Of the conversation, in estimated tokens; the system prompt is not counted.
    pub tokens: usize,
}

impl History {
    /// The system prompt and the newest of `lines` that fit. They begin with the person and alternate, since many servers
    /// refuse anything else: lines that follow each other in one role are joined. The last line is always there, cut if it
    /// alone is too long.
    pub fn fit<'a>(&self, lines: impl DoubleEndedIterator<Item = (Role, &'a str)>) -> Vec<Message> {
        fit(&self.system_prompt, lines, self.tokens)
    }
}

fn fit<'a>(system: &str, lines: impl DoubleEndedIterator<Item = (Role, &'a str)>, budget: usize) -> Vec<Message> {
    let mut left = budget;
    let mut kept: Vec<(Role, &str)> = Vec::new();
    for (role, text) in lines.rev() {
        let cost = cost(text);
        if cost > left && !kept.is_empty() {
            break;
        }
        kept.push((role, within(text, left)));
        left = left.saturating_sub(cost);
    }
    let mut messages: Vec<Message> = Vec::new();
    if !system.is_empty() {
        messages.push(Message::System(system.to_owned()));
    }
    for (role, text) in kept.into_iter().rev().skip_while(|(role, _)| *role == Role::Assistant) {
        match (messages.last_mut(), role) {
            (Some(Message::User(said)), Role::User) | (Some(Message::Assistant { text: said, .. }), Role::Assistant) => {
                said.push('\n');
                said.push_str(text);
            }
            (_, Role::User) => messages.push(Message::User(text.to_owned())),
            (_, Role::Assistant) => messages.push(Message::Assistant { text: text.to_owned(), calls: vec![] }),
        }
    }
    messages
}

/// About how many tokens a message is: four Latin letters make one, a Chinese character is one. On the safe side for the
/// vocabularies in use, and exact enough for a budget.
fn cost(text: &str) -> usize {
    let narrow = text.chars().filter(char::is_ascii).count();
    let wide = text.chars().filter(|c| !c.is_ascii()).count();
    narrow.div_ceil(4) + wide + PER_MESSAGE
}

/// The beginning of `text` that `budget` can hold.
fn within(text: &str, budget: usize) -> &str {
    let mut quarters = 4 * budget.saturating_sub(PER_MESSAGE);
    let end = text.char_indices().find(|(_, c)| {
        let price = if c.is_ascii() { 1 } else { 4 };
        let fits = quarters >= price;
        quarters = quarters.saturating_sub(price);
        !fits
    });
    end.map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(text: &str) -> Message {
        Message::User(text.into())
    }

    fn assistant(text: &str) -> Message {
        Message::Assistant { text: text.into(), calls: vec![] }
    }

    #[test]
    fn the_oldest_lines_give_way_and_the_system_prompt_stays() {
        let lines = [(Role::User, "aaaa"), (Role::Assistant, "bbbb"), (Role::User, "cccc")];
        let all = fit("sys", lines.into_iter(), 15);
        assert_eq!(all, [Message::System("sys".into()), user("aaaa"), assistant("bbbb"), user("cccc")]);
        // The answer would fit, but a conversation that begins with it would be refused.
        let cut = fit("sys", lines.into_iter(), 14);
        assert_eq!(cut, [Message::System("sys".into()), user("cccc")]);
    }

    #[test]
    fn a_question_after_an_unheard_answer_joins_the_one_before() {
        let lines = [(Role::User, "One?"), (Role::User, "Two?")];
        assert_eq!(fit("", lines.into_iter(), 100), [user("One?\nTwo?")]);
    }

    #[test]
    fn a_line_longer_than_the_budget_is_cut_rather_than_lost() {
        assert_eq!(fit("", [(Role::User, "你好你好你好")].into_iter(), 6), [user("你好")]);
    }

    proptest! {
        #[test]
        fn roles_alternate_from_the_person_on_within_the_budget(
            lines in proptest::collection::vec((any::<bool>(), "[a-z 你]{0,30}"), 0..30),
            budget in 64_usize..200,
        ) {
            let lines: Vec<(Role, String)> = lines
                .into_iter()
                .map(|(user, text)| (if user { Role::User } else { Role::Assistant }, text))
                .chain([(Role::User, "the question".to_owned())])
                .collect();
            let fitted = fit("system", lines.iter().map(|(role, text)| (*role, text.as_str())), budget);
            let mut cost_of_all = 0;
            for (n, message) in fitted.iter().enumerate() {
                let (text, fits) = match message {
                    Message::System(_) => continue,
                    Message::User(text) => (text, n % 2 == 1),
                    Message::Assistant { text, .. } => (text, n > 0 && n % 2 == 0),
                    Message::Tool { text, .. } => (text, false),
                };
                prop_assert!(fits, "{fitted:?}");
                cost_of_all += cost(text);
            }
            prop_assert!(matches!(fitted.last(), Some(Message::User(text)) if text.ends_with("the question")));
            // Joining lines costs a newline and saves a message.
            prop_assert!(cost_of_all <= budget, "{cost_of_all} > {budget}");
        }
    }
}
