//! What `finalize_schema` sees of a source that people go on changing, and what it asks for that.

use super::*;

async fn made(objects: [Vec<SchemaObject>; 2]) -> (Vec<String>, Vec<usize>) {
    let trial = Trial::begin().await;
    *trial.world.objects.lock().unwrap() = objects;
    trial.run("one");
    let request = trial.ask(Operation::Start).await;
    assert_eq!(trial.finished(request).await, Outcome::Completed);
    let intended = trial.intended(request).await;
    let names = intended
        .iter()
        .filter_map(|label| Some(label.split_once("add_schema_object:")?.1.to_owned()))
        .collect();
    let looks = trial.world.looks.lock().unwrap().clone();
    (names, looks)
}

#[tokio::test]
async fn an_object_is_looked_for_at_its_own_table_before_it_is_made_and_at_all_of_them_in_the_end() {
    let (orders, items) = ("shop.orders".parse().unwrap(), "shop.items".parse().unwrap());
    let objects = vec![index("one", &orders), index("two", &items), index("three", &orders)];
    let (names, looks) = made([objects.clone(), objects]).await;
    assert_eq!(names, ["shop.orders:one", "shop.items:two", "shop.orders:three"]);
    assert_eq!(looks, [2, 1, 1, 2]);
}

#[tokio::test]
async fn what_the_source_loses_meanwhile_is_not_made_and_what_it_gets_is() {
    let (orders, items) = ("shop.orders".parse().unwrap(), "shop.items".parse().unwrap());
    let before = vec![index("one", &orders), index("gone", &items), index("three", &orders)];
    let mut after = vec![index("one", &orders), index("new", &items), index("three", &orders)];
    let (names, _) = made([before.clone(), after.clone()]).await;
    assert_eq!(names, ["shop.orders:one", "shop.items:new", "shop.orders:three"]);

    // Of another definition it is another one.
    after = before.clone();
    after[1].statement = "create index other".to_owned();
    after.push(index("new", &items));
    let (names, looks) = made([before, after]).await;
    assert_eq!(names, ["shop.orders:one", "shop.items:gone", "shop.orders:three", "shop.items:new"]);
    assert_eq!(looks, [2, 1, 2, 1, 1, 2]);
}
