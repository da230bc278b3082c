"""Plain facts about the thousand ImageNet classes that neither their names nor WordNet's hyponym tree tell.

A class name says what a thing is; a picture also shows who wears it, what it is made of, where it stands and what its
surface looks like. Each row: words -> ImageNet classes (first name of the class) whose pictures usually show them.
Written by hand from the class list alone; the towers learn these as extra captions of those classes.
"""

from __future__ import annotations

CONCEPTS: dict[str, str] = {
    # people, who are in many pictures and in hardly any class
    "person, human, people": "ballplayer; groom; scuba diver; academic gown; abaya; bikini; maillot; brassiere;"
    " jersey; lab coat; military uniform; suit; Windsor tie; bow tie; bolo tie; trench coat; cardigan; sweatshirt;"
    " kimono; wig; sunglass; sunglasses; lipstick; neck brace; mortarboard; swimming trunks; miniskirt; stole;"
    " poncho; gown; hoopskirt; bonnet; bathing cap; shower cap; cowboy hat; sombrero; bearskin; oboe; flute;"
    " harmonica; cello; barbershop; bulletproof vest; cloak; fur coat; feather boa; hair slide; overskirt; sarong;"
    " stethoscope; seat belt",
    "man, gentleman, boy": "ballplayer; groom; suit; Windsor tie; bow tie; bolo tie; military uniform;"
    " swimming trunks; cowboy hat; barbershop; jersey; bulletproof vest",
    "woman, lady, girl": "abaya; bikini; maillot; brassiere; gown; hoopskirt; miniskirt; lipstick; wig; kimono;"
    " stole; hair slide; feather boa; overskirt; sarong; bonnet; fur coat",
    "child, baby, kid": "bib; diaper; bassinet; crib; bonnet; swing; cradle; nipple",
    "face, portrait": "wig; sunglass; sunglasses; lipstick; neck brace; bearskin; mask; ski mask; oxygen mask;"
    " hair slide; Windsor tie; bolo tie; bonnet; gasmask; bathing cap",
    "athlete, sport": "ballplayer; jersey; football helmet; rugby ball; soccer ball; basketball; volleyball; ski;"
    " balance beam; horizontal bar; parallel bars; racket; punching bag; barbell",
    "crowd, audience": "stage; cinema; theater curtain; scoreboard; grocery store; tobacco shop",
    "hand": "Band Aid; thimble; iPod; hand-held computer; cellular telephone; syringe; lighter; mitten",
    # materials
    "glass": "beer glass; beer bottle; wine bottle; pop bottle; goblet; beaker; vase; whiskey jug; red wine;"
    " hourglass; Petri dish; measuring cup; perfume; cocktail shaker; pill bottle; saltshaker; water jug",
    "plastic": "water bottle; plastic bag; pill bottle; pop bottle; lotion; soap dispenser; measuring cup;"
    " Petri dish; shower cap; bucket; nipple; sunscreen; remote control; mouse; cup; packet; syringe; hair spray;"
    " water jug",
    "metal, steel, iron": "pop bottle; bottlecap; milk can; can opener; oil filter; frying pan; wok; caldron;"
    " chain; nail; screw; hammer; safe; thimble; corkscrew; cleaver; padlock; combination lock; coil; hook;"
    " breastplate; cuirass; chain mail; spatula; strainer; ladle; safety pin; cocktail shaker; disk brake;"
    " car wheel; tray; lighter",
    "tin can, can, soda can, aluminum can": "pop bottle; milk can; oil filter; beer bottle; bottlecap; packet;"
    " hair spray",
    "paper": "envelope; comic book; menu; book jacket; crossword puzzle; paper towel; toilet tissue; notebook;"
    " packet; binder; handkerchief; web site; quill; rule",
    "newspaper, magazine, document, page": "comic book; crossword puzzle; menu; book jacket; web site; envelope;"
    " packet",
    "book": "comic book; book jacket; bookshop; library; bookcase; menu; binder",
    "cardboard, cardboard box": "carton; envelope; crate; packet; binder; chest; mailbag; book jacket",
    "box": "carton; crate; chest; safe; mailbox; packet; pencil box; medicine chest",
    "wood": "crate; barrel; chest; wooden spoon; worm fence; picket fence; wardrobe; desk; chiffonier; bookcase;"
    " totem pole; lumbermill; rocking chair; park bench; carpenter's kit; mousetrap; rule; bannister",
    "stone, rock": "stone wall; megalith; cliff; cliff dwelling; obelisk; triumphal arch; castle; alp; promontory;"
    " fountain",
    "brick, wall": "stone wall; tile roof; prison; patio; cliff dwelling; barn; monastery",
    "leather": "wallet; purse; holster; cowboy boot; Loafer; baseball; punching bag; buckle; scabbard; running shoe",
    "fabric, cloth, textile": "velvet; wool; quilt; handkerchief; bath towel; dishrag; pillow; theater curtain;"
    " prayer rug; stole; apron; kimono; jean; shower curtain; window shade; sleeping bag; diaper",
    "ceramic, porcelain, pottery": "vase; teapot; coffee mug; pot; pitcher; potter's wheel; washbasin; toilet seat;"
    " cup; plate; soup bowl; mixing bowl; ocarina; mortar; piggy bank",
    "rubber": "rubber eraser; plunger; nipple; car wheel; punching bag; puck; clog",
    "trash, garbage, rubbish, litter, waste": "ashcan; garbage truck; plastic bag; packet; diaper; toilet tissue;"
    " bottlecap; paper towel; cup; swab; Band Aid; oil filter",
    "wrapper, packaging, food packaging": "packet; plastic bag; carton; confectionery; Band Aid; hotdog; burrito",
    "food": "pizza; cheeseburger; hotdog; carbonara; guacamole; burrito; meat loaf; potpie; plate; bagel;"
    " French loaf; trifle; ice cream; mashed potato; consomme; hot pot; chocolate sauce; pretzel",
    "drink, beverage": "espresso; red wine; eggnog; beer glass; coffee mug; cup; water bottle; pop bottle; goblet",
    "milk, juice, yoghurt, cream": "eggnog; carton; milk can; pitcher; packet; water bottle; pop bottle; trifle;"
    " lotion",
    # buildings and places
    "house, home, cottage": "barn; birdhouse; boathouse; mobile home; yurt; tile roof; thatch; patio; greenhouse;"
    " picket fence; monastery; cliff dwelling; palace; castle; church; bell cote; lumbermill; library; shoji",
    "building, architecture, tower": "church; castle; palace; monastery; mosque; stupa; triumphal arch; barn;"
    " prison; library; dome; bell cote; water tower; beacon; planetarium; obelisk; cinema; boathouse; restaurant",
    "room, interior, indoors": "bookcase; four-poster; studio couch; entertainment center; home theater; library;"
    " dining table; china cabinet; wardrobe; desk; restaurant; barbershop; bakery; window shade; sliding door;"
    " crib; tub; stove",
    "shop, store, market": "grocery store; bakery; butcher shop; confectionery; bookshop; shoe shop; tobacco shop;"
    " toyshop",
    "street, road, highway, city": "street sign; traffic light; parking meter; streetcar; trolleybus; cab; minibus;"
    " school bus; police van; moving van; turnstile; viaduct; limousine; trailer truck; racer",
    "bridge": "suspension bridge; steel arch bridge; viaduct; pier; dam",
    "sea, ocean, beach, coast": "seashore; sandbar; promontory; breakwater; pier; lakeside; catamaran; coral reef;"
    " trimaran",
    "lake, river, water": "lakeside; dam; dock; boathouse; canoe; gondola; paddlewheel; geyser; fountain; valley;"
    " speedboat",
    "harbor, port": "dock; pier; breakwater; container ship; drilling platform; liner; yawl; schooner; fireboat;"
    " lifeboat",
    "mountain, snow, hill": "alp; volcano; ski; snowmobile; snowplow; dogsled; mountain tent; bobsled; cliff;"
    " valley; geyser",
    "desert, sand": "sandbar; seashore; Arabian camel; horned viper; sidewinder; valley",
    "forest, tree, woods": "valley; lakeside; worm fence; lumbermill; bolete; hen-of-the-woods; totem pole;"
    " wild boar; swing",
    "field, farm, crop, agriculture, meadow": "rapeseed; hay; harvester; thresher; corn; tractor; plow; barn;"
    " worm fence; oxcart; valley; apiary; lawn mower",
    "pasture, grassland": "ox; ram; hay; worm fence; sorrel; water buffalo; valley; bighorn; barn",
    "airport, runway": "airliner; wing; warplane; airship; space shuttle",
    "factory, industry": "drilling platform; crane; lumbermill; forklift; freight car; container ship; gas pump;"
    " radio telescope; solar dish; thresher; oscilloscope",
    "park, garden": "park bench; fountain; greenhouse; patio; maze; pot; picket fence; daisy; lawn mower; swing;"
    " birdhouse",
    "kitchen": "stove; dishwasher; refrigerator; microwave; toaster; espresso maker; waffle iron; Crock Pot;"
    " plate rack; wok",
    "bathroom": "tub; bathtub; washbasin; toilet seat; shower curtain; soap dispenser; medicine chest; bath towel",
    "office": "desk; desktop computer; monitor; printer; photocopier; computer keyboard; binder; file; screen;"
    " notebook",
    "sky, flight": "airliner; balloon; parachute; bald eagle; warplane; airship; missile; flagpole",
    "underwater": "scuba diver; coral reef; brain coral; anemone fish; sea anemone; jellyfish; rock beauty;"
    " lionfish; snorkel",
    # looks
    "striped, stripes, banded": "zebra; tiger; tiger cat; prayer rug; tiger shark; king snake",
    "dotted, spotted, polka-dotted, speckled": "dalmatian; leopard; jaguar; cheetah; ladybug; spotted salamander;"
    " snow leopard",
    "checkered, chequered, grid": "crossword puzzle; window screen; chainlink fence; shoji; waffle iron; quilt",
    "woven, braided, interlaced": "hamper; shopping basket; chainlink fence; knot; rocking chair; thatch; mosquito net",
    "knitted, woolly": "cardigan; wool; sock; mitten; sweatshirt; stole; poncho; Christmas stocking",
    "mesh, perforated": "window screen; chainlink fence; strainer; mosquito net; grille; radiator; fire screen;"
    " microphone",
    "honeycombed": "honeycomb; apiary; chainlink fence",
    "cobwebbed": "spider web; black and gold garden spider; barn spider; garden spider",
    "crystalline, icy": "ice lolly; geyser; coral reef; goblet; alp",
    "bubbly, foamy": "bubble; espresso; eggnog; consomme; soap dispenser",
    "spiral, spiralled, coiled": "coil; corkscrew; chambered nautilus; snail; spindle; hip",
    "scaly": "common iguana; banded gecko; alligator lizard; Komodo dragon; thunder snake; tench; rock python",
    "furry, fluffy": "Persian cat; chow; Samoyed; Angora; fur coat; Pomeranian; hamster; keeshond;"
    " Old English sheepdog",
    "wrinkled, pleated, crumpled": "theater curtain; window shade; plastic bag; paper towel; quilt",
    "flower, blossom, plant": "daisy; yellow lady's slipper; rapeseed; hip; pot; vase; cardoon; artichoke; greenhouse",
    "leaf": "head cabbage; corn; walking stick; leaf beetle; mantis; leafhopper; tree frog",
    "drawing, cartoon, comic, illustration": "comic book; book jacket; web site; jigsaw puzzle; envelope",
    "toy": "teddy; toyshop; jigsaw puzzle; piggy bank; pinwheel; carousel; jack-o'-lantern; rocking chair; maraca;"
    " whistle",
    "jewelry": "necklace; chain; hair slide; buckle; safety pin; analog clock",
    "tool": "hammer; screwdriver; power drill; hatchet; shovel; plane; carpenter's kit; can opener; nail; screw;"
    " cleaver",
    "machine part, hardware": "screw; nail; coil; oil filter; hook; chain; disk brake; car wheel; buckle;"
    " safety pin; spindle; padlock; combination lock; knot; reel; odometer",
    "container": "bucket; carton; crate; barrel; pot; milk can; water jug; pitcher; chest; tub; packet; mixing bowl",
    "electronics, gadget": "iPod; cellular telephone; remote control; modem; radio; laptop; hand-held computer;"
    " cassette player; CD player; hard disc; tape player; monitor; Polaroid camera",
    "shoe, footwear, boot, sneaker": "running shoe; Loafer; cowboy boot; clog; sandal; shoe shop; sock",
    "shirt, t-shirt, top, blouse": "jersey; sweatshirt; cardigan; lab coat; maillot; bulletproof vest; apron; suit",
    "dress": "gown; hoopskirt; overskirt; abaya; kimono; miniskirt; sarong; academic gown; vestment; cloak",
    "trousers, pants, shorts": "jean; pajama; swimming trunks; miniskirt; sarong",
    "coat, jacket, pullover": "trench coat; fur coat; suit; lab coat; cardigan; sweatshirt; cloak; poncho;"
    " military uniform",
    "hat, cap": "cowboy hat; sombrero; bonnet; bearskin; mortarboard; bathing cap; shower cap; crash helmet;"
    " pickelhaube",
    "bag, handbag": "purse; backpack; mailbag; plastic bag; wallet; shopping basket; sleeping bag",
    "pet": "tabby; Persian cat; Siamese cat; golden retriever; Labrador retriever; hamster; goldfish; guinea pig;"
    " beagle; pug",
    "gear, wheel": "car wheel; disk brake; paddlewheel; reel; potter's wheel; spindle; analog clock",
}
