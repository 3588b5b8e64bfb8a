"""Small talk, weather, work and roads: the parts of a story that are drawn anew in every document."""

from __future__ import annotations

WORK: dict[str, list[str]] = {
    "baker": ["kneaded the dough", "swept the oven", "counted the loaves", "sold the last rolls"],
    "smith": ["heated the iron", "shod two horses", "mended a plough", "sharpened the axes"],
    "weaver": ["set up the loom", "wound the yarn", "finished a long cloth", "dyed the wool"],
    "potter": ["turned the wheel", "glazed the bowls", "dug fresh clay", "filled the kiln"],
    "carpenter": ["planed the boards", "built a small table", "mended a broken chair", "cut new beams"],
    "miller": ["ground the corn", "filled the flour sacks", "cleaned the millstone", "oiled the big wheel"],
    "saddler": ["stitched a saddle", "cut the leather", "waxed the thread", "polished the buckles"],
    "fisher": ["mended the nets", "rowed out before dawn", "cleaned the trout", "tarred the boat"],
    "shepherd": ["counted the sheep", "closed the gate", "looked for a lost lamb", "sheared the ewes"],
    "gardener": ["watered the beans", "pruned the apple trees", "dug over the beds", "planted the onions"],
    "healer": ["dried the herbs", "bound up a sore hand", "boiled a bitter tea", "ground the roots"],
    "glazier": ["cut the panes", "set a new window", "melted the lead", "washed the coloured glass"],
    "mason": ["mixed the mortar", "carried the stones", "built up the wall", "chipped at the marble"],
    "cooper": ["bent the staves", "rolled out the barrels", "hammered the hoops", "fixed a leaking tub"],
    "brewer": ["stirred the malt", "tasted the new ale", "washed the casks", "tended the fire"],
    "tailor": ["threaded the needle", "cut out a jacket", "sewed on the buttons", "pressed the seams"],
}
WEATHER = [
    "The rain had stopped before dawn",
    "A cold wind came down from the hills",
    "The sun was warm on the roofs",
    "Mist lay over the fields",
    "It had snowed a little in the night",
    "The sky was clear and very blue",
    "Dark clouds hung over the valley",
    "A soft rain was falling",
    "The road was dry and dusty",
    "The first stars were out",
]
ROADS = [
    "along the river",
    "over the hill",
    "through the beech wood",
    "past the old mill pond",
    "across the wet meadows",
    "by the long road",
    "on the back of a hay cart",
    "down the narrow lane",
]
MOODS = ["cheerful", "tired", "hungry", "quiet", "in good spirits", "a little late", "out of breath", "proud"]
GREETINGS = [
    "Good morning",
    "Good day to you",
    "Well met",
    "There you are at last",
    "Come in, come in",
    "What a nice surprise",
    "You must be cold",
    "Sit down by the fire",
]
TALK = [
    "The harvest will be late this year",
    "My knees tell me it will rain",
    "The bridge needs mending again",
    "Have you heard the news from the hills",
    "Nobody makes soup as my mother did",
    "The evenings are getting longer",
    "We should go fishing one of these days",
    "I slept badly because of the wind",
    "The children have grown so fast",
    "There is a dance on the green tonight",
    "The fox has been at the hens again",
    "I have never seen so many apples",
]
REPLIES = [
    "That is true",
    "I am not so sure",
    "You always say that",
    "Let us hope for the best",
    "I thought so too",
    "Then we must do something about it",
    "Ask me again tomorrow",
    "Do not worry about it",
]
NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty"]
GOODS = [
    "eggs",
    "candles",
    "onions",
    "apples",
    "ribbons",
    "nails",
    "spoons",
    "cheeses",
    "loaves",
    "buttons",
    "jars of honey",
    "sacks of flour",
    "bunches of herbs",
    "balls of wool",
]
CARRIED = [
    "a basket of apples",
    "a loaf of bread",
    "a bundle of firewood",
    "a letter",
    "a pot of jam",
    "an old umbrella",
    "a sack of flour",
    "nothing but a stick",
]
MISHAPS = [
    "Halfway there a wheel came off a cart, and everyone had to help.",
    "On the way a dog ran off with a sausage.",
    "At the ford the water was high, and there was a long wait.",
    "A flock of sheep blocked the road for a while.",
    "Somebody had left a gate open, and the cows were in the corn.",
    "A boy came running with a lost hat.",
    "The path was so muddy that one boot stayed behind.",
    "Nothing much happened on the way.",
]
EVENINGS = [
    "They talked until the fire was low.",
    "Then it was time to go home.",
    "Nobody wanted to leave.",
    "The moon was up before they said good night.",
    "After that they all slept well.",
    "It was a day to remember.",
    "So the day ended better than it had begun.",
    "They washed the plates together.",
]
WRAPPINGS = [
    "wrapped in brown paper",
    "tied up with string",
    "hidden under a cloth",
    "in a small box",
    "in a sack",
]
THANKS = [
    "I have wanted one for years",
    "You should not have done it",
    "How did you know",
    "It is just what I needed",
    "I shall keep it for ever",
    "Nobody ever gave me such a thing",
]
REASONS = [
    "for the help with the roof",
    "because of a lost bet",
    "to say thank you",
    "to end an old quarrel",
    "for no reason at all",
    "because the winter had been hard",
    "after a long illness",
    "as a promise kept",
]
GIFT_DAYS = ["One {s} morning", "On a {s} evening", "Late in {s}", "Early in {s}", "One day in {s}", "In {s}"]
