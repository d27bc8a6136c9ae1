"""my-policy: peers see every NPC without its private members."""

import json

from wit_world import exports
from wit_world.exports.lifecycle import Description
from wit_world.exports.transformation import Changes, Patch
from wit_world.imports import npcs

# Members whose name starts so are private. Edit this line.
PRIVATE = "_"
# The member in which an NPC lists the names of further private members, as a JSON list.
LIST = "internal"


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Description(
            name="my-policy",
            version="0.1.0",
            summary="Peers see every NPC without its private members.",
        )

    def configure(self, settings):
        """Each setting has `name` and `value`. Raise `componentize_py_types.Err(text)` to refuse them."""


class Transformation(exports.Transformation):
    def transform(self, frame):
        patches = []
        for index, npc in enumerate(frame.npcs):
            names = [frame.strings[member] for member in npc.members]
            listed = names_in(npcs.member(index, LIST)) if LIST in names else []
            remove = [
                member
                for member, name in zip(npc.members, names)
                if name == LIST or name.startswith(PRIVATE) or name in listed
            ]
            if remove:
                patches.append(Patch(npc=index, remove=remove, set=[]))
        return Changes(hidden=[], patches=patches)


def names_in(text):
    try:
        names = json.loads(text or "[]")
    except ValueError:
        return []
    return names if isinstance(names, list) else []
