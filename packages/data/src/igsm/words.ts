// The words of the worlds: lists of twenty, and sub-categories that set a noun behind each word of one of them. No item has
// a comma, a full stop, an apostrophe or a word that joins names, so that texts can be read back.

const list = (words: string): readonly string[] => words.split(' ');

/** Twenty words each; an item is one of them and a noun. */
export const HEADS = {
  tree: list(
    'Alder Aspen Beech Birch Cedar Cypress Elm Fir Hazel Hemlock Juniper Larch Linden Maple Oak Pine Rowan Spruce Walnut Willow',
  ),
  matter: list(
    'Amber Brass Bronze Chrome Copper Coral Crystal Ebony Garnet Granite Iron Ivory Jade Marble Onyx Opal Pearl Quartz Silver Topaz',
  ),
  colour: list(
    'Azure Beige Black Blue Crimson Emerald Golden Green Grey Indigo Lilac Maroon Orange Pink Purple Red Scarlet Teal White Yellow',
  ),
  place: list(
    'North South East West Upper Lower Central Harbour Hilltop Lakeside Meadow Midtown Orchard Riverside Seaside Station Summit Valley Waterfall Woodland',
  ),
  family: list(
    'Abbott Baxter Calder Dalton Ellis Foster Garner Hobbs Ingram Jarvis Keller Lambert Mercer Norton Osborn Parker Quincy Ramsey Sawyer Thorne',
  ),
  taste: list(
    'Baked Bitter Candied Creamy Crispy Crunchy Fresh Frozen Glazed Grilled Hearty Mild Pickled Roasted Salted Smoked Spicy Sweet Tangy Toasted',
  ),
  body: list(
    'Anterior Central Distal Dorsal Frontal Greater Inner Lateral Left Lesser Lower Medial Outer Posterior Primary Proximal Right Secondary Upper Ventral',
  ),
  temper: list(
    'Bold Brave Calm Clever Curious Eager Fierce Gentle Happy Humble Jolly Lazy Lively Nimble Patient Playful Proud Quiet Shy Swift',
  ),
  science: list(
    'Acoustic Aquatic Atomic Chemical Coastal Digital Electric Floral Fossil Genetic Glacial Kinetic Lunar Magnetic Marine Optical Solar Thermal Tidal Volcanic',
  ),
  pattern: list(
    'Braided Checked Curved Dotted Embossed Folded Fringed Knitted Laced Marbled Painted Plaid Pleated Polished Printed Quilted Ribbed Striped Woven Zigzag',
  ),
  weather: list(
    'Arctic Autumn Breezy Cloudy Dawn Desert Dusk Foggy Frosty Misty Moonlit Northern Rainy Snowy Southern Spring Stormy Summer Sunny Winter',
  ),
  tissue: list(
    'Basal Bipolar Ciliated Columnar Cuboidal Dense Diploid Discoid Elongate Fibrous Flat Granular Hollow Layered Nodal Oval Pyramidal Spindle Stellate Tubular',
  ),
} as const;

/** A sub-category as `noun:heads`. */
type SubCategory = `${string}:${keyof typeof HEADS}`;

/** A layer: its name, and five sub-categories. */
type LayerWords = readonly [name: string, ...subCategories: SubCategory[]];

/** Four consecutive layers, from containers to what is contained. */
export type WorldWords = readonly [LayerWords, LayerWords, LayerWords, LayerWords];

/** The items of a sub-category. */
export function itemsOf(subCategory: SubCategory): readonly string[] {
  const [noun, heads] = subCategory.split(':') as [string, keyof typeof HEADS];
  return HEADS[heads].map((head) => `${head} ${noun}`);
}

/** Layer names of Part 2.1, Appendix D.1; items are this project's own. */
export const NUMBER_WORLDS: readonly WorldWords[] = [
  [
    ['District', 'Quarter:place', 'Borough:tree', 'Precinct:family', 'Ward:matter', 'Parish:weather'],
    ['Supermarket', 'Grocers:family', 'Market:tree', 'Pantry:colour', 'Foods:matter', 'Provisions:place'],
    ['Product', 'Bread:taste', 'Soup:taste', 'Pie:taste', 'Cheese:taste', 'Noodles:taste'],
    ['Ingredient', 'Pepper:colour', 'Honey:tree', 'Salt:matter', 'Butter:taste', 'Beans:colour'],
  ],
  [
    ['Zoo', 'Menagerie:place', 'Safari:weather', 'Sanctuary:tree', 'Aviary:matter', 'Wildpark:family'],
    ['Enclosure', 'Pen:colour', 'Paddock:tree', 'Lagoon:weather', 'Habitat:place', 'Terrarium:matter'],
    ['Animal', 'Fox:temper', 'Otter:temper', 'Heron:temper', 'Tortoise:temper', 'Salmon:temper'],
    ['Bone', 'Rib:body', 'Femur:body', 'Vertebra:body', 'Carpal:body', 'Scapula:body'],
  ],
  [
    ['School', 'Academy:family', 'College:place', 'Lyceum:matter', 'Institute:tree', 'Seminary:weather'],
    ['Classroom', 'Laboratory:science', 'Studio:colour', 'Workshop:matter', 'Gymnasium:family', 'Library:tree'],
    ['Backpack', 'Rucksack:pattern', 'Satchel:colour', 'Duffel:matter', 'Knapsack:weather', 'Tote:pattern'],
    ['Stationery', 'Pencil:colour', 'Notebook:pattern', 'Eraser:matter', 'Marker:colour', 'Folder:pattern'],
  ],
  [
    ['Ecosystems', 'Forest:weather', 'Reef:matter', 'Marsh:colour', 'Steppe:place', 'Tundra:science'],
    ['Creatures', 'Griffin:temper', 'Phoenix:temper', 'Kraken:temper', 'Unicorn:temper', 'Dragon:temper'],
    ['Organs', 'Lung:body', 'Kidney:body', 'Stomach:body', 'Heart:body', 'Liver:body'],
    ['Cells', 'Neuron:tissue', 'Platelet:tissue', 'Osteocyte:tissue', 'Myocyte:tissue', 'Lymphocyte:tissue'],
  ],
];

export const PRICE_WORLDS: readonly WorldWords[] = [
  [
    ['Treasure', 'Casket:matter', 'Crown:colour', 'Idol:matter', 'Tapestry:pattern', 'Goblet:colour'],
    ['Cargo', 'Crate:tree', 'Barrel:tree', 'Bale:pattern', 'Sack:colour', 'Chest:matter'],
    ['Ware', 'Lantern:matter', 'Kettle:colour', 'Blanket:pattern', 'Basket:tree', 'Mirror:matter'],
    ['Coin', 'Ducat:matter', 'Florin:colour', 'Guilder:family', 'Thaler:place', 'Denar:tree'],
  ],
  [
    ['Voyage', 'Cruise:weather', 'Trek:place', 'Tour:colour', 'Flight:weather', 'Ferry:place'],
    ['Lodging', 'Inn:colour', 'Hostel:tree', 'Cabin:weather', 'Manor:family', 'Lodge:place'],
    ['Meal', 'Breakfast:taste', 'Lunch:taste', 'Supper:taste', 'Brunch:taste', 'Banquet:taste'],
    ['Token', 'Voucher:colour', 'Coupon:pattern', 'Ticket:matter', 'Stamp:family', 'Chip:colour'],
  ],
];

export const DISTANCE_WORLDS: readonly WorldWords[] = [
  [
    ['Route', 'Highway:place', 'Canal:family', 'Railway:tree', 'Causeway:weather', 'Pass:matter'],
    ['Leg', 'Climb:weather', 'Descent:place', 'Crossing:matter', 'Traverse:tree', 'Portage:family'],
    ['Lap', 'Circuit:colour', 'Loop:matter', 'Bypass:place', 'Ring:tree', 'Bend:weather'],
    ['Stride', 'Hop:temper', 'Jump:temper', 'Step:temper', 'Leap:temper', 'Skip:temper'],
  ],
  [
    ['Expedition', 'Convoy:place', 'Caravan:colour', 'Armada:matter', 'Patrol:weather', 'Survey:science'],
    ['Stage', 'Channel:weather', 'Strait:family', 'Fjord:tree', 'Sound:place', 'Gulf:colour'],
    ['Dive', 'Plunge:temper', 'Drift:temper', 'Swim:temper', 'Sprint:temper', 'Glide:temper'],
    ['Fathom', 'Cable:matter', 'Chain:colour', 'Furlong:tree', 'Rod:pattern', 'Span:science'],
  ],
];

export const RECIPE_WORLDS: readonly WorldWords[] = [
  [
    ['Feast', 'Buffet:weather', 'Picnic:place', 'Gala:matter', 'Cookout:tree', 'Potluck:family'],
    ['Dish', 'Stew:taste', 'Curry:taste', 'Casserole:taste', 'Risotto:taste', 'Salad:taste'],
    ['Filling', 'Stuffing:taste', 'Sauce:colour', 'Relish:taste', 'Paste:colour', 'Gravy:weather'],
    ['Spice', 'Cumin:colour', 'Saffron:place', 'Clove:matter', 'Ginger:weather', 'Paprika:colour'],
  ],
  [
    ['Bakery', 'Ovenhouse:family', 'Patisserie:colour', 'Kitchen:place', 'Mill:tree', 'Teahouse:weather'],
    ['Cake', 'Torte:taste', 'Muffin:taste', 'Strudel:taste', 'Eclair:taste', 'Brioche:taste'],
    ['Cream', 'Custard:colour', 'Icing:pattern', 'Ganache:matter', 'Mousse:temper', 'Glaze:colour'],
    ['Flavour', 'Vanilla:place', 'Cocoa:weather', 'Mint:colour', 'Nutmeg:tree', 'Lavender:matter'],
  ],
];

export const TRAIT_WORLDS: readonly WorldWords[] = [
  [
    ['Ancestor', 'Matriarch:temper', 'Patriarch:temper', 'Founder:family', 'Elder:colour', 'Progenitor:matter'],
    ['Lineage', 'Clan:matter', 'House:family', 'Tribe:weather', 'Branch:tree', 'Dynasty:colour'],
    ['Offspring', 'Daughter:temper', 'Son:temper', 'Niece:temper', 'Nephew:temper', 'Cousin:temper'],
    ['Trait', 'Freckle:colour', 'Dimple:body', 'Curl:colour', 'Birthmark:body', 'Talent:science'],
  ],
  [
    ['Estate', 'Grove:place', 'Nursery:family', 'Vineyard:weather', 'Garden:colour', 'Greenhouse:matter'],
    ['Cultivar', 'Apple:colour', 'Pear:colour', 'Plum:colour', 'Cherry:colour', 'Quince:colour'],
    ['Seedling', 'Sprout:temper', 'Shoot:temper', 'Sapling:temper', 'Cutting:temper', 'Graft:temper'],
    ['Gene', 'Allele:science', 'Codon:body', 'Locus:tissue', 'Exon:colour', 'Operon:science'],
  ],
];
