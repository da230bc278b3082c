"""Generic nouns: what else a photo may show. Beside the user's classes they take the photos of nothing on the list.

The list is ours: things, living beings and places that cameras meet every day, none of them rare, and some words for
pictures that show nothing in particular.
"""

from __future__ import annotations

import re

from ..labels import Label, Labels

_PEOPLE = """
man, woman, child, baby, crowd of people, face, hand, foot, worker, player, family, couple
"""
_ANIMALS = """
dog, cat, horse, cow, sheep, goat, pig, chicken, duck, goose, rabbit, mouse, bird, fish, insect, butterfly, bee, spider,
snake, lizard, frog, turtle, bear, deer, fox, elephant, lion, monkey, whale, snail, crab, eagle, owl, parrot, squirrel
"""
_PLANTS = """
tree, flower, grass, leaf, bush, mushroom, cactus, moss, branch, seed, potted plant, vegetable, fruit
"""
_FOOD = """
bread, cake, pizza, soup, salad, rice, pasta, meat, egg, cheese, sandwich, chocolate, ice cream, cup of coffee, drink,
apple, banana, orange, grapes, tomato, potato, carrot, onion, pepper, corn, nut, cookie, plate of food
"""
_HOME = """
table, chair, sofa, bed, lamp, shelf, cupboard, drawer, door, window, curtain, carpet, mirror, clock, pillow, blanket,
towel, candle, vase, picture frame, toy, doll, balloon, gift, basket, bucket, bin, broom, iron, fan, heater, stove,
oven, fridge, washing machine, sink, bathtub, toilet, shower, tap, soap, toothbrush, comb, bottle, cup, glass, bowl,
plate, fork, spoon, knife, pot, pan, jar, can, box, bag, wallet, key, umbrella, suitcase, backpack
"""
_CLOTHES = """
shirt, trousers, skirt, dress, jacket, coat, hat, cap, scarf, glove, sock, shoe, boot, belt, tie, glasses, ring,
necklace, watch, helmet, uniform, button, zip
"""
_TOOLS = """
hammer, screwdriver, wrench, pliers, saw, drill, ladder, shovel, axe, scissors, needle, thread, rope, chain, nail,
screw, bolt, spring, gear, pipe, hose, valve, wire, cable, plug, switch, battery, light bulb, motor, engine, pump,
tape, brush, paint, glue, ruler, lock, hook, wheel, tyre, brick, plank, metal sheet, glass pane, plastic part, tool box
"""
_DEVICES = """
computer, laptop, keyboard, computer mouse, screen, printer, phone, camera, television, radio, loudspeaker, headphones,
microphone, remote control, circuit board, microchip, robot, drone, machine, telescope, microscope, thermometer, scale
"""
_OFFICE = """
book, newspaper, letter, envelope, notebook, pen, pencil, paper, calendar, map, poster, sign, flag, coin, banknote,
credit card, stamp, label, barcode, document, whiteboard
"""
_TRAVEL = """
car, bus, truck, van, train, tram, bicycle, motorcycle, boat, ship, aeroplane, helicopter, tractor, ambulance, trailer,
traffic light, road sign, parking meter, petrol station
"""
_PLACES = """
street, road, bridge, tunnel, house, skyscraper, church, castle, tower, shop, market, factory, warehouse, office,
kitchen, bedroom, bathroom, living room, classroom, hospital, restaurant, stadium, station, airport, harbour, park,
garden, field, farm, forest, mountain, hill, valley, desert, beach, sea, lake, river, waterfall, island, cave, sky,
cloud, sun, moon, star, snow, ice, rain, fog, fire, smoke, rock, sand, soil, wall, floor, roof, fence, stairs, bench,
fountain, statue
"""
_LEISURE = """
ball, racket, bat, net, ski, skateboard, surfboard, tent, kite, guitar, piano, violin, drum, trumpet, playing card,
chess board, dice, puzzle, painting, drawing, sculpture
"""
_NOTHING = """
pattern, texture, blurry picture, dark picture, blank picture, screenshot, text, logo, diagram, shadow, reflection,
noise
"""

_ENDINGS = ("", "s", "es")

GENERIC_NOUNS: tuple[str, ...] = tuple(
    " ".join(noun.split())
    for group in (
        *(_PEOPLE, _ANIMALS, _PLANTS, _FOOD, _HOME, _CLOTHES, _TOOLS, _DEVICES, _OFFICE, _TRAVEL, _PLACES, _LEISURE),
        _NOTHING,
    )
    for noun in group.split(",")
)


def nouns_beside(labels: Labels) -> Labels:
    """The generic nouns without those that a class may mean: the words of none stand in a name or a synonym, nor the
    other way round.

    "bolt" goes where a class is "hex bolt", and "cup of coffee" where one is "cup": it would take half of that class's
    probability. A class that is wider than a noun ("vehicle" and "car") is not known to be: write its kinds as
    synonyms, `vehicle | car | truck`.
    """
    taken = [_words(word) for label in labels.entries for word in label.words]
    return Labels(tuple(Label(noun) for noun in GENERIC_NOUNS if not any(_overlap(noun, word) for word in taken)))


def _words(name: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", name.casefold()).split())


def _overlap(noun: str, word: str) -> bool:
    """Whether the words of one stand in a row in the other, a plural's ending aside."""
    return any(
        f" {short}{ending} " in f" {long} " for short, long in ((noun, word), (word, noun)) for ending in _ENDINGS
    )
