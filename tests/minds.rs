//! The client of language models against a strict stand-in that was written apart from it, in every way that one can fail; and
//! the whole path through the real server, seen by a viewer.

#[path = "standin/server.rs"]
mod server;
mod standin;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use visavis::llm::tools::{self, HttpConfig, McpConfig};
use visavis::llm::{self, Call, ChatModel, Delta, Error, Message, Prompt, Provider, Tool, Toolbox};

use server::{Server, Viewer};
use standin::{Act, KEY, MODEL, Standin, Then, WEATHER_KEY, chunk};

/// A client of `base_url` that waits a second at most for anything.
fn client(base_url: &str) -> Arc<dyn ChatModel> {
    llm::build(&config(base_url)).expect("the configuration is valid")
}

fn config(base_url: &str) -> llm::Config {
    let second = Duration::from_secs(1);
    let mut config = llm::Config { provider: Provider::OpenAi, ..llm::Config::default() };
    config.timeouts.connect = second;
    config.timeouts.first_token = second;
    config.timeouts.idle = second;
    config.timeouts.total = 3 * second;
    config.openai.base_url = base_url.into();
    config.openai.model = MODEL.into();
    config.openai.api_key = KEY.into();
    config
}

fn question(text: &str) -> Prompt {
    let messages = vec![Message::System("Be brief.".into()), Message::User(text.into())];
    Prompt { messages, ..Prompt::default() }
}

/// All that is said in reply to a question, and how it ended.
async fn ask(model: &dyn ChatModel) -> (String, Result<(), Error>) {
    let mut reply = model.reply(question("How are you?"));
    let mut said = String::new();
    while let Some(delta) = reply.next().await {
        match delta {
            Ok(Delta::Text(text)) => said.push_str(&text),
            Ok(Delta::Call(call)) => panic!("nobody offered {}", call.name),
            Err(error) => return (said, Err(error)),
        }
    }
    (said, Ok(()))
}

fn event(delta: &Value) -> Vec<u8> {
    format!("data: {}\n\n", chunk(delta, None)).into_bytes()
}

fn hello() -> Vec<u8> {
    event(&json!({"content": "Hello. "}))
}

#[tokio::test]
async fn an_answer_is_streamed_from_a_strict_provider() {
    let standin = Standin::start().await;
    standin.will([Act::Say("你好, I am well. 🎉"), Act::Say("Again.")]);
    let model = client(&standin.base_url());
    assert_eq!(ask(&*model).await, ("你好, I am well. 🎉".into(), Ok(())));
    assert_eq!(ask(&*model).await, ("Again.".into(), Ok(())));
    assert_eq!(standin.faults(), Vec::<String>::new());
    assert_eq!(standin.requests()[0]["messages"][1], json!({"role": "user", "content": "How are you?"}));
}

#[tokio::test]
async fn the_stand_in_refuses_wrong_traffic() {
    let standin = Standin::start().await;
    let http = reqwest::Client::new();
    let url = format!("{}/chat/completions", standin.base_url());
    let right = json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "x"}]});
    let send = async |key: &str, kind: &str, body: String| {
        let request = http.post(&url).header("authorization", format!("Bearer {key}")).header("content-type", kind);
        let request = request.header("accept", "text/event-stream").body(body);
        request.send().await.expect("the stand-in answers").status().as_u16()
    };
    let with = |key: &str, value: Value| {
        let mut body = right.clone();
        body[key] = value;
        body.to_string()
    };
    let json = "application/json";
    assert_eq!(send(KEY, json, right.to_string()).await, 200);
    assert_eq!(send("sk-other", json, right.to_string()).await, 401);
    assert_eq!(send(KEY, "text/plain", right.to_string()).await, 415);
    assert_eq!(send(KEY, json, "{".into()).await, 400);
    assert_eq!(send(KEY, json, with("model", json!("other"))).await, 404);
    assert_eq!(send(KEY, json, with("stream", json!(false))).await, 400);
    assert_eq!(send(KEY, json, with("n", json!(2))).await, 400);
    let role = |role: &str| json!({"role": role, "content": "x"});
    for wrong in [
        json!([]),
        json!([role("assistant"), role("user")]),
        json!([role("user"), role("user")]),
        json!([role("user"), role("system")]),
        json!([role("user"), role("assistant")]),
        json!([role("user"), role("tool")]),
        json!([{"role": "user", "content": null}]),
    ] {
        assert_eq!(send(KEY, json, with("messages", wrong.clone())).await, 400, "{wrong}");
    }
}

/// A way to fail, the code that it must be told by, and what was said before.
fn failures() -> Vec<(&'static str, Act, &'static str, &'static str)> {
    const JSON: &str = "application/json";
    const HTML: &str = "<html><body>502 Bad Gateway</body></html>";
    let error = r#"{"error":{"message":"m","type":"t","code":"c"}}"#;
    vec![
        ("hangs after the request", Act::Hang, "llm_timeout", ""),
        ("hangs before the first event", Act::Raw(vec![], Then::Hang), "llm_timeout", ""),
        (
            "keeps the line alive and says nothing",
            Act::Raw(vec![], Then::Repeat(b": keep-alive\n\n".to_vec())),
            "llm_timeout",
            "",
        ),
        ("hangs within the answer", Act::Raw(hello(), Then::Hang), "llm_timeout", "Hello. "),
        (
            "sends a byte now and then",
            Act::Raw(hello(), Then::Drip(b"data: {\"choices\":[{".repeat(4))),
            "llm_timeout",
            "Hello. ",
        ),
        ("resets within the answer", Act::Raw(hello(), Then::Reset), "llm_failed", "Hello. "),
        (
            "closes within an event",
            Act::Raw([hello(), b"data: {\"cho".to_vec()].concat(), Then::Close),
            "llm_failed",
            "Hello. ",
        ),
        ("closes without an end", Act::Raw(hello(), Then::Close), "llm_failed", "Hello. "),
        ("401", Act::Refuse("401 Unauthorized", "", JSON, error), "llm_unauthorized", ""),
        ("403, as a page", Act::Refuse("403 Forbidden", "", "text/html", HTML), "llm_unauthorized", ""),
        ("404", Act::Refuse("404 Not Found", "", JSON, error), "llm_not_found", ""),
        ("400", Act::Refuse("400 Bad Request", "", JSON, error), "llm_refused", ""),
        (
            "429, for an hour",
            Act::Refuse("429 Too Many Requests", "Retry-After: 3600\r\n", JSON, error),
            "llm_rate_limited",
            "",
        ),
        ("500", Act::Refuse("500 Internal Server Error", "Retry-After: 3600\r\n", JSON, error), "llm_unavailable", ""),
        (
            "503, as a page",
            Act::Refuse("503 Service Unavailable", "Retry-After: 3600\r\n", "text/html", HTML),
            "llm_unavailable",
            "",
        ),
        ("a page in place of JSON", Act::Refuse("200 OK", "", "text/html", HTML), "llm_failed", ""),
        ("JSON that is no completion", Act::Whole(json!({"hello": 1})), "llm_failed", ""),
        ("no UTF-8", Act::Raw([hello(), b"data: \xff\xfe\n\n".to_vec()].concat(), Then::Hang), "llm_failed", "Hello. "),
        ("no JSON in an event", Act::Raw([hello(), b"data: {]\n\n".to_vec()].concat(), Then::Hang), "llm_failed", "Hello. "),
        ("a line without an end", Act::Raw(hello(), Then::Repeat(vec![b'x'; 1 << 16])), "llm_failed", "Hello. "),
        (
            "an error within the stream",
            Act::Raw([hello(), format!("data: {error}\n\n").into_bytes()].concat(), Then::Hang),
            "llm_failed",
            "Hello. ",
        ),
        (
            "compressed, though nobody asked",
            Act::Refuse("200 OK", "Content-Encoding: gzip\r\n", "text/event-stream", "\u{1f}\u{8b}\u{8}"),
            "llm_failed",
            "",
        ),
        (
            "sends us elsewhere",
            Act::Refuse("307 Temporary Redirect", "Location: http://169.254.169.254/\r\n", JSON, "{}"),
            "llm_not_found",
            "",
        ),
        ("speaks no HTTP", Act::Bytes(b"220 smtp.example ESMTP\r\n".to_vec()), "llm_unavailable", ""),
    ]
}

#[tokio::test]
async fn every_way_to_fail_is_told_in_time_and_the_next_question_is_answered() {
    for (what, act, code, before) in failures() {
        let standin = Standin::start().await;
        // Whoever tries again meets the same.
        standin.will([act.clone(), act.clone(), act]);
        let model = client(&standin.base_url());
        let began = Instant::now();
        let (said, ended) = ask(&*model).await;
        assert_eq!(ended.map_err(|error| error.code()), Err(code), "{what}");
        assert_eq!(said, before, "{what}");
        assert!(began.elapsed() < Duration::from_millis(3_500), "{what}: {:?}", began.elapsed());
        standin.forget();
        standin.will([Act::Say("Fine.")]);
        assert_eq!(ask(&*model).await, ("Fine.".into(), Ok(())), "after: {what}");
    }
}

#[tokio::test]
async fn an_endless_answer_ends_with_the_time_for_all_of_it() {
    let standin = Standin::start().await;
    standin.will([Act::Raw(vec![], Then::Repeat([event(&json!({"reasoning_content": "Hm."})), vec![b'\n'; 64]].concat()))]);
    let began = Instant::now();
    let (said, ended) = ask(&*client(&standin.base_url())).await;
    assert_eq!((said.as_str(), ended.map_err(|error| error.code())), ("", Err("llm_timeout")));
    assert!(began.elapsed() < Duration::from_millis(3_500), "{:?}", began.elapsed());
    standin.will([Act::Raw(vec![], Then::Repeat(event(&json!({"content": "word ".repeat(100)}))))]);
    let (said, ended) = ask(&*client(&standin.base_url())).await;
    assert_eq!(ended.map_err(|error| error.code()), Err("llm_failed"));
    assert!(said.len() <= 64 << 10, "{}", said.len());
}

#[tokio::test]
async fn nobody_there_and_no_tls_are_told_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let (_, ended) = ask(&*client(&format!("http://{address}/v1"))).await;
    let error = ended.expect_err("nobody listens");
    assert_eq!(error.code(), "llm_unavailable");
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
    let standin = Standin::start().await;
    let (_, ended) = ask(&*client(&standin.base_url().replace("http:", "https:"))).await;
    assert!(matches!(ended.map_err(|error| error.code()), Err("llm_unavailable" | "llm_timeout")));
}

#[tokio::test]
async fn what_passes_is_tried_again_before_the_first_token_and_never_after() {
    let busy = || Act::Refuse("503 Service Unavailable", "Retry-After: 0.2\r\n", "application/json", "{}");
    let standin = Standin::start().await;
    standin.will([busy(), Act::Raw(vec![], Then::Close), Act::Say("At last.")]);
    let mut patient = config(&standin.base_url());
    patient.timeouts.first_token = Duration::from_secs(5);
    let patient = llm::build(&patient).expect("valid");
    assert_eq!(ask(&*patient).await, ("At last.".into(), Ok(())));
    standin.will([busy(), busy(), busy(), Act::Say("Too late.")]);
    assert_eq!(ask(&*patient).await.1.map_err(|error| error.code()), Err("llm_unavailable"), "two tries after the first");
    assert_eq!(standin.requests().len(), 6);
    let quota = r#"{"error":{"code":"insufficient_quota"}}"#;
    standin.will([Act::Say("Too late, consumed."), Act::Refuse("429 Too Many Requests", "", "application/json", quota)]);
    assert_eq!(ask(&*patient).await.0, "Too late.");
    assert_eq!(ask(&*patient).await.0, "Too late, consumed.");
    assert_eq!(ask(&*patient).await.1.map_err(|error| error.code()), Err("llm_rate_limited"));
    standin.will([Act::Raw(hello(), Then::Reset)]);
    let before = standin.requests().len();
    assert_eq!(ask(&*patient).await.0, "Hello. ");
    assert_eq!(standin.requests().len(), before + 1, "what was heard is not asked for again");
}

#[tokio::test]
async fn a_provider_that_is_down_costs_nobody_the_wait_after_five_failures() {
    let standin = Standin::start().await;
    let down = Act::Refuse("503 Service Unavailable", "Retry-After: 3600\r\n", "text/plain", "");
    standin.will(std::iter::repeat_n(down, 5));
    let model = client(&standin.base_url());
    for _ in 0..6 {
        assert_eq!(ask(&*model).await.1.map_err(|error| error.code()), Err("llm_unavailable"));
    }
    assert_eq!(standin.requests().len(), 5, "the sixth was not sent");
    assert_eq!(ask(&*client(&standin.base_url())).await.0, "Well.", "another provider is not concerned");
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let standin = Standin::start().await;
    let wait = Act::Refuse("429 Too Many Requests", "Retry-After: 2\r\n", "application/json", "{}");
    standin.will([wait, Act::Say("Now.")]);
    let mut patient = config(&standin.base_url());
    patient.timeouts.first_token = Duration::from_secs(5);
    let began = Instant::now();
    assert_eq!(ask(&*llm::build(&patient).expect("valid")).await.0, "Now.");
    assert!((2.0..3.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn every_dialect_of_an_answer_is_understood() {
    let standin = Standin::start().await;
    let model = client(&standin.base_url());
    let content = |text: &str| chunk(&json!({"content": text}), None);
    let stop = || chunk(&json!({}), Some("stop"));
    // Thoughts, beside the text and within it.
    let reasoning = chunk(&json!({"content": null, "reasoning_content": "secret", "role": null, "tool_calls": null}), None);
    let thinking = [content("<th"), content("ink>secret</thi"), content("nk>\n\nAloud")];
    standin.will([Act::Events([vec![json!({"choices": []}), reasoning], thinking.to_vec(), vec![stop()]].concat())]);
    assert_eq!(ask(&*model).await, ("Aloud".into(), Ok(())));
    // A server that does not stream.
    let message = json!({"role": "assistant", "content": "<think>x</think>All at once."});
    standin.will([Act::Whole(json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))]);
    assert_eq!(ask(&*model).await, ("All at once.".into(), Ok(())));
    // An end without [DONE], CRLF, no space, no end of the connection.
    let crlf = format!("data:{}\r\n\r\n: x\r\n\r\ndata:{}\r\n\r\n", content("Done."), stop()).into_bytes();
    standin.will([Act::Raw(crlf, Then::Hang)]);
    let began = Instant::now();
    assert_eq!(ask(&*model).await, ("Done.".into(), Ok(())));
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    // An event that is cut within a character.
    let dripped = "data:{\"choices\":[{\"delta\":{\"content\":\"你\"}}]}\n\n";
    standin.will([Act::Raw(vec![], Then::Drip(dripped.into()))]);
    let mut patient = config(&standin.base_url());
    patient.timeouts.first_token = Duration::from_secs(8);
    patient.timeouts.total = Duration::from_secs(9);
    assert_eq!(
        ask(&*llm::build(&patient).expect("valid")).await.1.map_err(|e| e.code()),
        Err("llm_failed"),
        "it has no end"
    );
}

#[tokio::test]
async fn a_dropped_reply_closes_the_connection_within_a_second() {
    for (n, act) in
        [Act::Hang, Act::Raw(hello(), Then::Hang), Act::Raw(hello(), Then::Repeat(hello()))].into_iter().enumerate()
    {
        let standin = Standin::start().await;
        standin.will([act]);
        let model = client(&standin.base_url());
        let mut reply = model.reply(question("Tell me a long story."));
        let _ = timeout(Duration::from_millis(200), reply.next()).await;
        assert_eq!(standin.requests().len(), 1);
        drop(reply);
        let closed = standin.hung_up(1, Duration::from_secs(1)).await;
        assert!(closed.is_some(), "case {n}: the provider still writes for nobody");
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_sent() {
    let mut keyless = config("https://api.invalid/v1");
    keyless.openai.api_key = "".into();
    let (_, ended) = ask(&*llm::build(&keyless).expect("valid")).await;
    let error = ended.expect_err("there is no key");
    assert_eq!(error.code(), "llm_no_key");
    assert!(error.to_string().contains("OPENAI_API_KEY"), "{error}");
    keyless.provider = Provider::DashScope;
    let (_, ended) = ask(&*llm::build(&keyless).expect("valid")).await;
    assert!(ended.expect_err("there is no key").to_string().contains("DASHSCOPE_API_KEY"));
    // A server of one's own needs none, and is not sent one.
    let standin = Standin::start().await;
    let mut own = config(&standin.base_url());
    own.openai.api_key = "".into();
    assert_eq!(ask(&*llm::build(&own).expect("valid")).await.1.map_err(|e| e.code()), Err("llm_unauthorized"));
    assert_eq!(standin.faults(), ["401 Unauthorized: invalid_api_key"]);
}

fn toolbox(standin: &Standin) -> Toolbox {
    let weather = HttpConfig {
        name: "weather".into(),
        description: "The weather of a city.".into(),
        parameters: json!({"type": "object", "properties": {"city": {"type": "string"}}}),
        method: tools::Method::Get,
        url: format!("{}/weather", standin.origin),
        headers: [("X-Key".to_owned(), WEATHER_KEY.into())].into(),
        timeout: Duration::from_secs(2),
    };
    let home = McpConfig {
        name: "home".into(),
        url: format!("{}/mcp", standin.origin),
        headers: [].into(),
        timeout: Duration::from_secs(2),
    };
    let config = tools::Config { http: vec![weather], mcp: vec![home], ..tools::Config::default() };
    Toolbox::new(&config).expect("the configuration is valid")
}

/// The tools, once the MCP server has told its own.
async fn tools_of(toolbox: &Toolbox) -> Vec<Arc<dyn Tool>> {
    for _ in 0..100 {
        let tools = toolbox.with(vec![]);
        if tools.len() == 3 {
            return tools;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the MCP server told no tools");
}

#[tokio::test]
async fn web_services_and_mcp_servers_do_what_a_model_asks() {
    let standin = Standin::start().await;
    let toolbox = toolbox(&standin);
    let tools = tools_of(&toolbox).await;
    let names: Vec<&str> = tools.iter().map(|tool| tool.spec().name.as_str()).collect();
    assert_eq!(names, ["weather", "home_lights_on", "home_fail"]);
    let (text, worked) = tools::run(&tools, "weather", r#"{"city":"São Paulo & co"}"#).await;
    assert!(worked && text.contains("city=S%C3%A3o+Paulo+%26+co") && text.contains("21"), "{text}");
    let (text, worked) = tools::run(&tools, "weather", r#"{"city":"Atlantis"}"#).await;
    assert!(!worked && text.contains("404") && text.contains("no such city"), "{text}");
    assert_eq!(tools::run(&tools, "home_lights_on", r#"{"room":"hall"}"#).await, ("the light is on".into(), true));
    assert_eq!(standin.mcp().calls(), [json!({"name": "lights.on", "arguments": {"room": "hall"}})]);
    let (text, worked) = tools::run(&tools, "home_fail", "").await;
    assert!(!worked && text.contains("fuse"), "{text}");
    standin.mcp().forget_session();
    assert_eq!(tools::run(&tools, "home_lights_on", "{}").await, ("the light is on".into(), true), "it was started again");
}

#[tokio::test]
async fn calls_and_their_results_go_over_the_wire_as_the_provider_wants_them() {
    let standin = Standin::start().await;
    standin.will([Act::Call("weather", r#"{"city":"Bern"}"#), Act::Say("21 degrees.")]);
    let model = client(&standin.base_url());
    let tools = tools_of(&toolbox(&standin)).await;
    let specs: Vec<_> = tools.iter().map(|tool| tool.spec().clone()).collect();
    let mut prompt = Prompt { tools: specs, ..question("How warm is it in Bern?") };
    let deltas: Vec<_> = model.reply(prompt.clone()).map(|delta| delta.expect("an answer")).collect().await;
    let call = Call { id: "call_abc".into(), name: "weather".into(), arguments: r#"{"city":"Bern"}"#.into() };
    assert_eq!(deltas, [Delta::Call(call.clone())]);
    prompt.messages.push(Message::Assistant { text: String::new(), calls: vec![call] });
    prompt.messages.push(Message::Tool { call: "call_abc".into(), text: "21".into() });
    prompt.must_answer = true;
    let deltas: Vec<_> = model.reply(prompt).map(|delta| delta.expect("an answer")).collect().await;
    assert_eq!(deltas.len(), 4);
    assert_eq!(standin.faults(), Vec::<String>::new());
    let last = standin.requests().pop().expect("two requests");
    assert_eq!((&last["tool_choice"], &last["messages"][3]["content"]), (&json!("none"), &json!("21")));
}

fn configuration(standin: &Standin) -> String {
    let origin = &standin.origin;
    let tools = json!({
        "built_in": ["switch_avatar", "play_action", "end_call"],
        "http": [{
            "name": "weather",
            "description": "The weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            "url": format!("{origin}/weather"),
            "headers": {"X-Key": "${WEATHER_KEY}"},
        }],
        "mcp": [{"name": "home", "url": format!("{origin}/mcp")}],
    });
    let openai = json!({"base_url": format!("{origin}/v1"), "model": MODEL, "api_key": "${OPENAI_API_KEY}"});
    json!({"llm": {"provider": "openai", "openai": openai, "tools": tools}}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_hears_answers_failures_and_what_tools_brought() {
    let standin = Standin::start().await;
    let file = std::env::temp_dir().join(format!("visavis-minds-{}.yaml", std::process::id()));
    std::fs::write(&file, configuration(&standin)).expect("there is room");
    let server = Server::start(Some(&file), &[("OPENAI_API_KEY", KEY), ("WEATHER_KEY", WEATHER_KEY)]).await;
    std::fs::remove_file(&file).expect("it is ours");
    let mut viewer = Viewer::join(&server, json!({})).await;
    assert_eq!(viewer.hello["history"], json!([]));

    standin.will([Act::Say("It is a fine day.")]);
    viewer.ask("Hello.").await;
    assert_eq!(viewer.turn("ended").await["heard"], "It is a fine day.");

    // The provider fails: a recorded line is heard, an event says why, and the next question is answered.
    standin.will([Act::Refuse("401 Unauthorized", "", "application/json", "{}")]);
    viewer.ask("And now?").await;
    let began = Instant::now();
    viewer.turn("started").await;
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    let error = viewer.until("error", |event| event["type"] == "error").await;
    assert_eq!(error["code"], "llm_unauthorized", "{error}");
    let apology = viewer.turn("failed").await["heard"].as_str().unwrap_or_default().to_owned();
    assert!(apology.starts_with("Sorry"), "{apology}");
    let ready = server.http.get(format!("{}/readyz", server.url)).send().await.expect("the server answers");
    let warnings = ready.json::<Value>().await.expect("with JSON")["warnings"].to_string();
    assert!(warnings.contains("refuses OPENAI_API_KEY"), "{warnings}");

    // In Chinese for whoever asks in Chinese.
    standin.will([Act::Refuse("400 Bad Request", "", "application/json", "{}")]);
    viewer.ask("你好吗？").await;
    let chinese = viewer.turn("failed").await["heard"].as_str().unwrap_or_default().to_owned();
    assert!(chinese.starts_with("抱歉"), "{chinese}");

    // Cut in the middle: the provider is left at once, and the model is told what was heard and no more.
    let story =
        "One day a small bird sat down on a tree. The tree was old and it knew many stories. Nobody had asked for years.";
    standin.will([Act::Raw(event(&json!({"content": story})), Then::Hang)]);
    viewer.ask("Tell me a story.").await;
    viewer.turn("started").await;
    sleep(Duration::from_millis(1_500)).await;
    server.post("/interrupt_talk", json!({"sessionid": viewer.session})).await;
    let left = standin.hung_up(1, Duration::from_secs(1)).await;
    assert!(left.is_some(), "the provider still writes for nobody");
    let heard = viewer.turn("interrupted").await["heard"].as_str().unwrap_or_default().to_owned();
    assert!(heard.starts_with("One day") && story.starts_with(&heard) && heard.len() < story.len(), "{heard}");
    standin.will([Act::Say("Fine.")]);
    viewer.ask("Thank you.").await;
    viewer.turn("ended").await;
    let last = standin.requests().pop().expect("it was asked");
    let told: Vec<&str> = last["messages"].as_array().into_iter().flatten().filter_map(|m| m["content"].as_str()).collect();
    let (told, system) = (&told[1..], told[0]);
    assert!(system.contains("digital human"), "{system}");
    let expected = [
        "Hello.",
        "It is a fine day.",
        "And now?",
        apology.trim_end(),
        "你好吗？",
        &chinese,
        "Tell me a story.",
        heard.as_str(),
        "Thank you.",
    ];
    assert_eq!(told, expected);

    // Tools of all three kinds, one after another.
    standin.will([
        Act::Call("weather", r#"{"city":"Bern"}"#),
        Act::Call("home_lights_on", r#"{"room":"hall"}"#),
        Act::Call("switch_avatar", r#"{"id":"theo"}"#),
        Act::Call("play_action", r#"{"name":"nod"}"#),
        Act::Say("It is 21 degrees, and the light is on."),
    ]);
    viewer.ask("Do all that.").await;
    viewer.until("avatar", |event| event["type"] == "avatar" && event["id"] == "theo").await;
    assert_eq!(viewer.turn("ended").await["heard"], "It is 21 degrees, and the light is on.");
    let last = standin.requests().pop().expect("it was asked");
    let results = last["messages"].as_array().into_iter().flatten().filter(|message| message["role"] == "tool");
    let results: Vec<&str> = results.filter_map(|message| message["content"].as_str()).collect();
    assert!(results[0].contains("\"degrees\":21"), "{results:?}");
    assert_eq!(results[1..], ["the light is on", "you appear as theo now", "the person sees it now"]);
    assert_eq!(standin.mcp().calls().len(), 1);

    // The good-bye is heard, then the session ends.
    standin.will([Act::Call("end_call", ""), Act::Say("Good bye.")]);
    viewer.ask("That is all.").await;
    assert_eq!(viewer.turn("ended").await["heard"], "Good bye.");
    let bye = viewer.until("bye", |event| event["type"] == "bye").await;
    assert_eq!(bye["reason"], "end_call");
    let ended = async {
        loop {
            let sessions = server.http.get(format!("{}/v1/sessions", server.url)).send().await.expect("the server answers");
            if sessions.json::<Value>().await.expect("with JSON") == json!([]) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(3), ended).await.expect("the session ends");
    assert_eq!(standin.faults(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_the_server_starts_and_says_so_when_asked() {
    let variables = [("LLM_PROVIDER", "openai"), ("OPENAI_BASE_URL", "https://api.invalid/v1")];
    let server = Server::start(None, &variables).await;
    let page = server.http.get(&server.url).send().await.expect("pages are served");
    assert_eq!(page.status(), 200);
    let mut viewer = Viewer::join(&server, json!({})).await;
    for _ in 0..2 {
        viewer.ask("Hello.").await;
        let error = viewer.until("error", |event| event["type"] == "error").await;
        assert_eq!(error["code"], "llm_no_key");
        assert!(error["msg"].as_str().is_some_and(|msg| msg.contains("OPENAI_API_KEY")), "{error}");
    }
}
