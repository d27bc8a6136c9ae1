// my-policy: peers see every NPC without its private members.

import { member } from "p2p-coordinator:policy/npcs@1.0.0";

/** Members whose name starts so are private. Edit this line. */
const PRIVATE = "_";
/** The member in which an NPC lists the names of further private members, as a JSON list. */
const LIST = "internal";

export const lifecycle = {
  describe() {
    return {
      name: "my-policy",
      version: "0.1.0",
      summary: "Peers see every NPC without its private members.",
    };
  },

  // settings: a list of { name, value }, both text. Throw a text to refuse them.
  configure(settings) {},
};

export const transformation = {
  transform(frame) {
    const patches = [];
    frame.npcs.forEach((npc, index) => {
      const members = [...npc.members];
      const hasList = members.some((at) => frame.strings[at] === LIST);
      const listed = hasList ? namesIn(member(index, LIST)) : [];
      const remove = members.filter((at) => {
        const name = frame.strings[at];
        return name === LIST || name.startsWith(PRIVATE) || listed.includes(name);
      });
      if (remove.length > 0) patches.push({ npc: index, remove, set: [] });
    });
    return { hidden: [], patches };
  },
};

function namesIn(json) {
  try {
    const names = JSON.parse(json ?? "[]");
    return Array.isArray(names) ? names : [];
  } catch {
    return [];
  }
}
