use std::time::Duration;

use axum::routing::post;
use tokio::sync::mpsc;

use super::*;
use crate::emulator::common::{Action, FaultRule, Server, When};

#[tokio::test]
async fn a_key_and_a_user_agent_are_wanted() {
    let bench = Bench::new().await;
    let url = format!("{}/users/me.json", bench.running.url);
    let ask = |authorization: &'static str| {
        let request = bench
            .client
            .get(&url)
            .header("User-Agent", "tests")
            .header("Authorization", authorization);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(ask("Bearer emulator").await, 200);
    assert_eq!(ask("OAuth emulator").await, 200);
    // user:emulator
    assert_eq!(ask("Basic dXNlcjplbXVsYXRvcg==").await, 200);
    for wrong in ["Bearer other", "Basic dXNlcjpwYXNz", "emulator", ""] {
        assert_eq!(ask(wrong).await, 401, "{wrong}");
    }
    let silent = bench.client.get(&url).bearer_auth("emulator").send().await.unwrap();
    assert_eq!(silent.status(), 403);
}

#[tokio::test]
async fn the_daily_quota_ends_at_midnight_and_says_so() {
    let bench = Bench::with(|options| options.daily_quota = Some(2)).await;
    for want in [200, 200, 429] {
        assert_eq!(bench.status(Method::GET, "/users/me").await, want);
    }
    let refused = bench.send(Method::GET, "/users/me", None).await;
    assert!(!refused.headers().contains_key("retry-after"));
    assert_eq!(refused.headers()["date"], "Tue, 09 Jun 2026 12:00:00 GMT");
    let want = "You have reached your daily API usage limit. Access will resume at 2026-06-10 00:00:00 UTC";
    assert_eq!(refused.text().await.unwrap(), want);
    bench.clock.advance(Duration::from_secs(12 * 3600));
    assert_eq!(bench.status(Method::GET, "/users/me").await, 200);
}

#[tokio::test]
async fn requests_are_counted_by_template_and_faults_strike_them() {
    let bench = Bench::with(|options| options.rate = 5).await;
    let file = bench.running.remote().create_file(bench.root(), "a.txt", "a").unwrap();
    let path = format!("/files/{file}.json");
    let strike = |action| {
        bench
            .running
            .faults()
            .add(FaultRule::new("GET /files/*", When::Nth(1), action))
    };
    strike(Action::status(502));
    strike(Action::Html);
    let first = bench.send(Method::GET, &path, None).await;
    assert_eq!(first.status(), 502);
    let second = bench.send(Method::GET, &path, None).await.text().await.unwrap();
    assert!(second.contains("<html>"));
    strike(Action::ApplyThenDropAnswer);
    bench.request(Method::GET, &path).send().await.unwrap_err();
    for want in [200, 200, 429] {
        assert_eq!(bench.status(Method::GET, &path).await, want);
    }
    let counters = bench.running.counters();
    assert_eq!((counters.of("GET /files/{id}"), counters.busiest_second), (6, 6));
    bench.running.reset_counters();
    assert_eq!(bench.running.counters().api, 0);
}

#[tokio::test]
async fn an_answer_that_is_lost_has_still_been_acted_on() {
    let bench = Bench::new().await;
    let rule = FaultRule::new("POST /folders/*/children", When::First(1), Action::ApplyThenDropAnswer);
    bench.running.faults().add(rule);
    let children = format!("/folders/{}/children", bench.root());
    let lost = bench.request(Method::POST, &children).json(&json!({"name": "twice?"}));
    lost.send().await.unwrap_err();
    assert!(matches!(bench.running.remote().find("twice?"), Some(Item::Folder(_))));
}

#[tokio::test]
async fn edits_from_elsewhere_come_over_http() {
    let bench = Bench::new().await;
    let url = format!("{}/_emulator/edits", bench.running.origin());
    let edit = json!([
        {"create_folder": {"parent": bench.root(), "name": "f"}},
        {"create_file": {"folder": bench.root(), "name": "a.txt", "body": {"text": "hello"}}},
    ]);
    let answer: Value = bench
        .client
        .post(&url)
        .json(&edit)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let file = answer["ids"][1].as_u64().unwrap();
    let edit = json!({"set_term": {"id": file, "term": "Credit", "value": "me"}});
    assert_eq!(bench.client.post(&url).json(&edit).send().await.unwrap().status(), 200);
    assert_eq!(
        bench.running.remote().file(file).unwrap().terms,
        [("Credit".to_owned(), "me".to_owned())]
    );
    let edit = json!({"delete_file": {"id": 5}});
    assert_eq!(bench.client.post(&url).json(&edit).send().await.unwrap().status(), 422);
    assert_eq!(bench.running.counters().api, 0);
}

#[tokio::test]
async fn webhooks_are_delivered() {
    let (sender, mut events) = mpsc::channel::<Value>(100);
    let listen = post(move |axum::Json(event): axum::Json<Value>| {
        let sender = sender.clone();
        async move { sender.send(event).await.unwrap() }
    });
    let routes = axum::Router::new().route("/hook", listen);
    let listener = Server::start("127.0.0.1:0".parse().unwrap(), routes).await.unwrap();
    let bench = Bench::new().await;
    let url = format!("{}/hook", listener.origin());
    for (resource, action) in [("file", "added_to_folder"), ("file", "deleted"), ("folder", "moved")] {
        let hook = json!({"resource": resource, "action": action, "url": url, "notification_emails": []});
        assert_eq!(bench.post("/webhooks.json", hook).await.0, 201);
    }
    let bad = json!({"resource": "file", "action": "eaten", "url": url});
    assert_eq!(bench.post("/webhooks.json", bad).await.0, 422);
    let remote = bench.running.remote();
    let (a, b) = (
        remote.create_folder(bench.root(), "a").unwrap(),
        remote.create_folder(bench.root(), "b").unwrap(),
    );
    let file = remote.create_file(a, "x.txt", "x").unwrap();
    let to_b = json!({"name": "a", "parent_id": b});
    assert_eq!(
        bench
            .send(Method::PUT, &format!("/folders/{a}"), Some(to_b))
            .await
            .status(),
        200
    );
    remote.delete_file(file).unwrap();
    let event = events.recv().await.unwrap();
    assert_eq!(
        event["event"],
        json!({"resource": "file", "action": "added_to_folder", "resource_id": file,
        "actor_id": 250_001, "recipient_id": a})
    );
    assert_eq!(
        (&event["data"]["folder_ids"], &event["data"]["size"]),
        (&json!([a]), &json!(1))
    );
    let event = events.recv().await.unwrap();
    assert_eq!(
        (&event["event"]["action"], &event["data"]["full_path"]),
        (&json!("moved"), &json!("/b/a"))
    );
    assert_eq!(events.recv().await.unwrap()["event"]["action"], "deleted");
    let hooks = ids(&bench.get("/webhooks.json").await);
    assert_eq!(
        bench
            .status(Method::DELETE, &format!("/webhooks/{}.json", hooks[0]))
            .await,
        204
    );
    assert_eq!(bench.get("/webhooks.json").await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn templates_and_keywords_are_listed_and_keywords_are_made() {
    let bench = Bench::new().await;
    let types = bench.get("/file_types.json").await;
    assert_eq!(ids(&types), [6001]);
    let kind = bench.get("/file_types/6001.json").await;
    let select = &kind["terms"][2];
    assert_eq!(
        (&select["field_type"], &select["metaterm_options"][0]["value"]),
        (&json!("select"), &json!("Internal"))
    );
    let (status, set) = bench.post("/keyword_sets.json", json!({"name": "Season"})).await;
    assert_eq!(status, 201);
    let path = format!("/keyword_sets/{}/keywords.json", set["id"]);
    let (status, keyword) = bench.post(&path, json!({"name": "Spring"})).await;
    assert_eq!((status, &keyword["keyword_set_id"]), (201, &set["id"]));
    assert_eq!(bench.get(&path).await[0]["name"], "Spring");
    assert_eq!(
        bench.get(&format!("/keyword_sets/{}", set["id"])).await["name"],
        "Season"
    );
    let file = bench.running.remote().create_file(bench.root(), "a.txt", "a").unwrap();
    let (_, collection) = bench.post("/collections.json", json!({"name": "c"})).await;
    let path = format!("/collections/{}.json", collection["id"]);
    let added = bench.send(Method::PUT, &path, Some(json!({"asset_ids": [file]}))).await;
    assert_eq!(added.json::<Value>().await.unwrap()["asset_count"], 1);
    assert_eq!(bench.get("/users/me.json").await["id"], 250_001);
}

#[tokio::test]
async fn a_data_folder_keeps_everything_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let data = || Some(dir.path().to_owned());
    let bench = Bench::with(|options| (options.data, options.seed) = (data(), Seed::Small)).await;
    let remote = bench.running.remote();
    let Some(Item::File(hero)) = remote.find("Campaigns/Spring 2026/Spring Hero.jpg") else {
        panic!("no hero");
    };
    let Some(Item::Folder(archive)) = remote.find("Archive") else {
        panic!("no archive");
    };
    remote.replace(hero, "not a picture").unwrap();
    remote.delete_folder(archive).unwrap();
    let (job, file) = bench.job("half.txt", 6).await;
    let chunk = |n: u64| format!("/upload_jobs/{job}/files/{file}/chunks/{n}");
    assert_eq!(bench.chunk(&chunk(1), "abc").await.status(), 204);
    let link = bench.link(hero).await;
    bench.running.shutdown().await;

    let bench = Bench::with(|options| options.data = data()).await;
    let remote = bench.running.remote();
    assert_eq!(&remote.bytes(hero).unwrap()[..], b"not a picture");
    assert_eq!(remote.find("Archive"), None);
    assert!(remote.find("Press/Press kit.pdf").is_some());
    let done: Value = bench.chunk(&chunk(2), "def").await.json().await.unwrap();
    let asset = done["asset_id"].as_u64().unwrap();
    assert_eq!(&remote.bytes(asset).unwrap()[..], b"abcdef");
    let again = bench.get(&format!("/quick_links/{}", link["id"])).await;
    let bytes = bench
        .download(again["url"].as_str().unwrap())
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(bytes, "not a picture");
}

#[tokio::test]
async fn many_files_are_listed_without_looking_at_all_of_them() {
    let bench = Bench::with(|options| {
        options.seed = Seed::Files {
            folders: 200,
            files_per_folder: 50,
        };
    })
    .await;
    let Some(Item::Folder(folder)) = bench.running.remote().find("folder-00123") else {
        panic!("no folder");
    };
    let files = bench.get(&format!("/folders/{folder}/files.json")).await;
    assert_eq!(
        (files.as_array().unwrap().len(), &files[0]["filename"]),
        (50, &json!("file-006150.bin"))
    );
    bench
        .running
        .remote()
        .rename_file(ids(&files)[7], "changed.bin")
        .unwrap();
    let path = format!(
        "/folders/{}/files.json?recursive=true&updated_after=2026-06-01",
        bench.root()
    );
    assert_eq!(bench.get(&path).await[0]["filename"], "changed.bin");
    let link = bench.link(ids(&files)[0]).await;
    let bytes = bench
        .download(link["url"].as_str().unwrap())
        .await
        .bytes()
        .await
        .unwrap();
    assert_eq!(bytes.len() as u64, files[0]["size"].as_u64().unwrap());
}
