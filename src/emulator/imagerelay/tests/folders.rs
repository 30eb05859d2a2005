use super::*;

#[tokio::test]
async fn folders_are_made_renamed_moved_and_listed_in_pages() {
    let bench = Bench::new().await;
    let root = bench.get("/folders/root.json").await;
    assert_eq!(
        (root["id"].as_u64(), &root["parent_id"]),
        (Some(bench.root()), &Value::Null)
    );
    let children = format!("/folders/{}/children", bench.root());
    let mut made = Vec::new();
    for number in 0..103 {
        let (status, folder) = bench.post(&children, json!({"name": format!("It's {number}")})).await;
        assert_eq!((status, &folder["metagroup_id"]), (201, &Value::Null));
        made.push(folder["id"].as_u64().unwrap());
    }
    let page = bench.get(&format!("{children}?page=2&per_page=100")).await;
    assert_eq!(ids(&page["folders"]), made[100..]);
    let want = json!({"current": 2, "previous": 1, "next": null, "per_page": 100, "pages": 2, "count": 103,
        "prev_page_path": format!("/api/v2{children}?page=1&per_page=100"), "next_page_path": null});
    assert_eq!(page["pagination"], want);
    assert_eq!(bench.get("/folders.json").await.as_array().unwrap().len(), 100);

    let change = json!({"name": "moved", "parent_id": made[1]});
    let moved = bench
        .send(Method::PUT, &format!("/folders/{}.json", made[0]), Some(change))
        .await;
    assert_eq!(moved.status(), 200);
    let moved: Value = moved.json().await.unwrap();
    assert_eq!(
        (moved["id"].as_u64(), moved["parent_id"].as_u64()),
        (Some(made[0]), Some(made[1]))
    );
    assert_eq!(moved["full_catalog_path"], "/It's 1/moved");
    assert_eq!(bench.get(&format!("/folders/{}", made[1])).await["child_count"], 1);
    let into_itself = json!({"name": "x", "parent_id": made[0]});
    let refused = bench
        .send(Method::PUT, &format!("/folders/{}.json", made[1]), Some(into_itself))
        .await;
    assert_eq!(refused.status(), 422);
    for name in ["a/b", "a&b", "a<b", "a>b", ""] {
        assert_eq!(bench.post(&children, json!({"name": name})).await.0, 422, "{name}");
    }
}

#[tokio::test]
async fn children_need_a_page_and_unknown_routes_are_html() {
    let bench = Bench::new().await;
    let children = format!("/folders/{}/children", bench.root());
    for path in [children.as_str(), "/nonsense"] {
        let response = bench.send(Method::GET, path, None).await;
        assert_eq!(response.status(), 404);
        assert!(response.text().await.unwrap().starts_with("<!DOCTYPE html>"));
    }
    assert_eq!(bench.status(Method::GET, &format!("{children}?page=1")).await, 200);
    assert_eq!(bench.status(Method::PATCH, &children).await, 405);
    let gone = bench.send(Method::GET, "/folders/17", None).await;
    assert_eq!(gone.status(), 404);
    assert!(gone.json::<Value>().await.is_ok());
}

#[tokio::test]
async fn the_plural_delete_is_stuck_and_the_singular_takes_the_content_along() {
    let bench = Bench::new().await;
    let remote = bench.running.remote();
    let top = remote.create_folder(bench.root(), "top").unwrap();
    let inner = remote.create_folder(top, "inner").unwrap();
    let only_here = remote.create_file(inner, "a.txt", "a").unwrap();
    let elsewhere = remote.create_file(inner, "b.txt", "b").unwrap();
    remote.move_file(elsewhere, &[inner, bench.root()]).unwrap();
    assert_eq!(bench.status(Method::DELETE, &format!("/folders/{top}.json")).await, 204);
    assert_eq!(bench.status(Method::GET, &format!("/folders/{top}")).await, 200);
    assert_eq!(bench.status(Method::DELETE, &format!("/folder/{top}")).await, 204);
    for path in [
        format!("/folders/{top}"),
        format!("/folders/{inner}"),
        format!("/files/{only_here}.json"),
    ] {
        assert_eq!(bench.status(Method::GET, &path).await, 404, "{path}");
    }
    assert_eq!(
        bench.get(&format!("/files/{elsewhere}")).await["folder_ids"],
        json!([bench.root()])
    );
    assert_eq!(
        bench.status(Method::DELETE, &format!("/folder/{}", bench.root())).await,
        403
    );

    let works = Bench::with(|options| options.quirks.plural_delete_stuck = false).await;
    let top = works.running.remote().create_folder(works.root(), "top").unwrap();
    assert_eq!(works.status(Method::DELETE, &format!("/folders/{top}.json")).await, 204);
    assert_eq!(works.status(Method::GET, &format!("/folders/{top}")).await, 404);
}
