"""A shop whose workers may die at any moment: orders, stock and mails, each order counted exactly once.

    python examples/outbox.py [--orders 200] [--keep FOLDER]

This process takes orders. Workers, each a process of its own, do the rest without being called:

    a consumer   for every new order: takes it off the stock and writes the mail to be sent, in one transaction with the place in the change log
                 it has got to. Whatever kills the worker, an order is taken off once.
    a trigger    for every new mail: sends it. Sending is outside the database, so a mail may go twice after a crash, and never not at all; it carries its
                 order's number, by which the receiver knows it again.

Two workers run; one of them does the work, the other waits for it to die. Every now and then the one that works is killed.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import docdb
from docdb import command as _

GOODS = ("apple", "bread", "cheese", "dates")
STOCK = 1_000_000
PATIENCE_S = 60.0


def pack(change, t) -> None:
    """Be the consumer's function: take one order off the stock and write the mail."""
    order = change.after
    t["stock"].doc(order["item"]).update({"left": _.inc(-order["amount"])})
    t["mails"].add(
        {"_id": order["_id"], "to": order["customer"], "text": f"{order['amount']} {order['item']} are on their way"}
    )
    t["workers"].doc(os.getpid()).set({"packed": ((t["workers"].doc(os.getpid()).get() or {}).get("packed", 0)) + 1})


def send(change, outside: int) -> None:
    """Be the trigger's function: send a mail, here into a file that stands for the world outside."""
    os.write(outside, f"{change.id} {change.after['to']}\n".encode())


def work(folder: str) -> None:
    """Be a worker until somebody closes the standard input, or kills it."""
    outside = os.open(Path(folder) / "sent", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with docdb.open(Path(folder) / "shop.docdb") as db:
        consumer = db.consume("pack", pack, collection="orders", operations="insert", from_="oldest")
        trigger = db.trigger("mails", "insert", lambda change: send(change, outside), name="send", from_="oldest")
        print("working", flush=True)
        sys.stdin.read()
        consumer.close()
        trigger.close()


def hire(folder: str) -> subprocess.Popen:
    """Start a worker and wait until it is at work."""
    command = [sys.executable, __file__, "--work", folder]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout.readline() == "working\n"
    return worker


def dismiss(worker: subprocess.Popen, *, kill: bool = False) -> None:
    """End a worker."""
    if kill:
        worker.send_signal(signal.SIGKILL)
    worker.communicate()


def sell(db: docdb.Database, folder: str, orders: int, chance: random.Random) -> int:
    """Take the orders, and kill a worker after every quarter of them; return how many were killed."""
    workers = [hire(folder), hire(folder)]
    killed = 0
    try:
        for number in range(1, orders + 1):
            order = {
                "_id": number,
                "item": chance.choice(GOODS),
                "amount": chance.randint(1, 9),
                "customer": f"c{number % 7}",
            }
            db["orders"].add(order)
            time.sleep(chance.random() * 0.002)
            if number % max(1, orders // 4) == 0:
                dismiss(workers.pop(0), kill=True)
                workers.append(hire(folder))
                killed += 1
        end = time.monotonic() + PATIENCE_S
        while not finished(db, folder) and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        for worker in workers:
            dismiss(worker)
    return killed


def finished(db: docdb.Database, folder: str) -> bool:
    """Tell whether every order is packed and every mail sent."""
    sent = Path(folder) / "sent"
    told = {line.split()[0] for line in sent.read_text().splitlines()} if sent.exists() else set()
    return db["mails"].count_documents({}) == db["orders"].count_documents({}) == len(told)


def report(db: docdb.Database, folder: str, killed: int) -> bool:
    """Print what came out; return whether it is right."""
    sold = {
        row["_id"]: row["n"] for row in db["orders"].aggregate().group({"_id": "$item", "n": {"$sum": "$amount"}}).end()
    }
    gone = {good["_id"]: STOCK - good["left"] for good in db["stock"].find() if good["left"] != STOCK}
    mails = [line.split()[0] for line in (Path(folder) / "sent").read_text().splitlines()]
    orders = db["orders"].count_documents({})
    packers = {worker["_id"]: worker["packed"] for worker in db["workers"].find()}
    print(f"{orders} orders, {killed} workers killed, packed by {len(packers)} of them: {sorted(packers.values())}")
    print(f"sold      {dict(sorted(sold.items()))}")
    print(f"off stock {dict(sorted(gone.items()))}")
    print(f"mails     {len(set(mails))} sent, {len(mails) - len(set(mails))} of them twice")
    return sold == gone and len(set(mails)) == orders == sum(packers.values())


def main() -> int:
    """Run the shop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", metavar="FOLDER")
    parser.add_argument("--work", metavar="FOLDER", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        work(chosen.work)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.keep or scratch
        os.makedirs(folder, exist_ok=True)
        with docdb.open(Path(folder) / "shop.docdb") as db:
            db["stock"].insert_many([{"_id": item, "left": STOCK} for item in GOODS])
            killed = sell(db, folder, chosen.orders, random.Random(chosen.seed))
            right = report(db, folder, killed)
    print("every order was taken off exactly once" if right else "SOMETHING IS WRONG")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
