"""The tree of a conversation, held to a model of it in plain Python through random histories."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from localchat.paths import Paths
from localchat.store.records import Outcome
from localchat.store.store import Store
from tests.store.conftest import PROVENANCE
from tests.store.test_file import whole


@dataclass
class Node:
    """A message as the model remembers it."""

    id: int
    conversation: str
    parent: Node | None
    role: str
    content: str
    children: list[Node] = field(default_factory=list)

    def path(self) -> list[str]:
        return [*(self.parent.path() if self.parent else []), self.content]

    def below(self) -> list[Node]:
        return [self, *(node for child in self.children for node in child.below())]


class Tree(RuleBasedStateMachine):
    """Whatever is said, edited, redone, chosen and deleted, in any order, by two processes."""

    replies = Bundle("replies")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        base = Path(self.folder.name)
        self.places = Paths(*(base / part for part in ("config", "data", "cache", "state", "run")))
        self.stores = [Store.open(self.places), Store.open(self.places)]
        self.nodes: dict[int, Node] = {}
        self.roots: dict[str, list[Node]] = {}
        self.leaves: dict[str, Node | None] = {}
        self.said = 0

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        whole(self.places)
        self.folder.cleanup()

    def words(self) -> str:
        self.said += 1
        return f"word{self.said}"

    def add(self, id_: int, conversation: str, parent: Node | None, role: str, text: str) -> Node:
        node = Node(id_, conversation, parent, role, text)
        self.nodes[id_] = node
        (parent.children if parent else self.roots[conversation]).append(node)
        self.leaves[conversation] = node
        return node

    def exists(self, node: Node) -> bool:
        return node.id in self.nodes

    def beside(self, node: Node) -> list[Node]:
        return node.parent.children if node.parent else self.roots[node.conversation]

    @rule(target=replies, system=st.booleans(), which=st.integers(0, 1))
    def begin(self, system: bool, which: int) -> Node:
        prompt, said = self.words() if system else None, self.words()
        turn = self.stores[which].start_turn(None, said, system=prompt, provenance=PROVENANCE)
        self.roots[turn.conversation] = []
        root = None
        if prompt:
            root = self.add(turn.user - 1, turn.conversation, None, "system", prompt)
        return self.answered(turn.reply, turn.user, root, said, turn.conversation, which)

    def answered(
        self, reply: int, user: int, parent: Node | None, said: str, conversation: str, which: int
    ) -> Node:
        asked = self.add(user, conversation, parent, "user", said)
        return self.ended(reply, asked, which)

    def ended(self, reply: int, asked: Node, which: int) -> Node:
        answer = self.words()
        self.stores[which].finish(reply, answer, "", Outcome("incomplete"))
        return self.add(reply, asked.conversation, asked, "assistant", answer)

    @rule(
        target=replies, after=replies, which=st.integers(0, 1), at=st.sampled_from(["leaf", "id"])
    )
    def go_on(self, after: Node, which: int, at: str) -> Node:
        if not self.exists(after):
            return after
        parent = self.leaves[after.conversation] if at == "leaf" else after
        said = self.words()
        turn = self.stores[which].start_turn(
            after.conversation,
            said,
            provenance=PROVENANCE,
            parent="leaf" if at == "leaf" else after.id,
        )
        return self.answered(turn.reply, turn.user, parent, said, after.conversation, which)

    @rule(target=replies, of=replies, which=st.integers(0, 1))
    def edit(self, of: Node, which: int) -> Node:
        if not self.exists(of):
            return of
        assert of.parent
        above = of.parent.parent
        said = self.words()
        turn = self.stores[which].start_turn(
            of.conversation, said, provenance=PROVENANCE, parent=above.id if above else "root"
        )
        return self.answered(turn.reply, turn.user, above, said, of.conversation, which)

    @rule(target=replies, of=replies, which=st.integers(0, 1))
    def regenerate(self, of: Node, which: int) -> Node:
        if not self.exists(of):
            return of
        assert of.parent
        turn = self.stores[which].regenerate(of.id, PROVENANCE)
        return self.ended(turn.reply, of.parent, which)

    @rule(of=replies, which=st.integers(0, 1))
    def continue_reply(self, of: Node, which: int) -> None:
        if self.exists(of) and not of.children:
            self.stores[which].continue_reply(of.id, PROVENANCE)
            of.content += self.words()
            self.stores[which].finish(of.id, of.content, "", Outcome("complete"))
            self.leaves[of.conversation] = of

    @rule(of=replies, up=st.booleans(), which=st.integers(0, 1))
    def choose(self, of: Node, up: bool, which: int) -> None:
        if self.exists(of):
            assert of.parent
            node = of.parent if up else of
            leaf = max(node.below(), key=lambda one: one.id)
            assert self.stores[which].set_leaf(node.id) == leaf.id
            self.leaves[of.conversation] = leaf

    @rule(of=replies, up=st.booleans(), which=st.integers(0, 1))
    def go_back(self, of: Node, up: bool, which: int) -> None:
        if self.exists(of):
            node = of.parent if up else of
            assert node
            self.stores[which].go_back(of.conversation, node.id)
            self.leaves[of.conversation] = node

    @rule(of=replies, which=st.integers(0, 1))
    def go_back_to_the_beginning(self, of: Node, which: int) -> None:
        if self.exists(of):
            self.stores[which].go_back(of.conversation, None)
            root = self.leaves[of.conversation]
            while root and root.parent:
                root = root.parent
            self.leaves[of.conversation] = root if root and root.role == "system" else None

    @rule(of=replies, up=st.booleans(), which=st.integers(0, 1))
    def delete_message(self, of: Node, up: bool, which: int) -> None:
        if not self.exists(of):
            return
        node = of.parent if up else of
        assert node
        self.stores[which].delete_message(node.id)
        beside = self.beside(node)
        beside.remove(node)
        if self.leaves[of.conversation] in node.below():
            newest = beside[-1].below() if beside else []
            leaf = max(newest, key=lambda one: one.id, default=node.parent)
            self.leaves[of.conversation] = leaf
        for gone in node.below():
            del self.nodes[gone.id]

    @rule(of=replies, which=st.integers(0, 1))
    def delete(self, of: Node, which: int) -> None:
        expected = int(of.conversation in self.roots)
        assert self.stores[which].delete([of.conversation]) == expected
        if expected:
            for root in self.roots.pop(of.conversation):
                for node in root.below():
                    del self.nodes[node.id]
            del self.leaves[of.conversation]

    @invariant()
    def the_store_agrees(self) -> None:
        for store in self.stores:
            assert {one.conversation.id for one in store.newest(1000)} == set(self.roots)
        store = self.stores[0]
        for conversation, leaf in self.leaves.items():
            assert store.conversation(conversation).leaf == (leaf.id if leaf else None)
            assert [one.content for one in store.path(conversation)] == (
                leaf.path() if leaf else []
            )
            stored = store.tree(conversation)
            mine = [node for node in self.nodes.values() if node.conversation == conversation]
            assert [(one.id, one.parent, one.role, one.content) for one in stored] == [
                (node.id, node.parent.id if node.parent else None, node.role, node.content)
                for node in sorted(mine, key=lambda node: node.id)
            ]
            if leaf:
                beside = [node.id for node in self.beside(leaf)]
                assert [one.id for one in store.siblings(leaf.id)] == beside
            alternatives = {}
            while leaf:
                if len(self.beside(leaf)) > 1:
                    alternatives[leaf.id] = tuple(node.id for node in self.beside(leaf))
                leaf = leaf.parent
            assert store.alternatives(conversation) == alternatives

    @invariant()
    def every_word_is_found_where_it_is(self) -> None:
        for node in list(self.nodes.values())[-3:]:
            hits = [hit.message for hit in self.stores[1].search(node.content)]
            assert hits == ([] if node.role == "system" else [node.id])


TestTree = Tree.TestCase
TestTree.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
