import { lines } from './form.js';

/** 263 invented companies by the city of their seat, 133 cities; 36 companies (13.7 %) have it in New York. */
const COMPANIES_BY_SEAT = lines(`
  New York, NY: Abacrest; Ardentine; Bellwether Capital; Broadgate; Candlewick Press; Castellan Group; Cobalt Securities; Delphic Media; Eastriver; Empiric Research; Fairmark Partners; Fifthlight; Gothamite; Granary Partners; Halberd Group; Ironbridge; Knickerworks; Liberton; Manhatta; Meridian Trust; Mosaic Broadcasting; Nocturne Records; Octavo Books; Parapet; Pinnacle Insurance; Quorum; Regent Holdings; Seaport Holdings; Skylark Airlines; Spindle Apparel; Tribune Analytics; Uptown; Verity Pharmaceuticals; Wallace Brothers; Wexler; Zenithal
  Los Angeles, CA: Angeleno Studios; Palisade Pictures; Sunfield
  San Francisco, CA: Baywright; Fogline; Goldengate Software; Telegraph Networks
  San Jose, CA: Circuitry; Logicore
  San Diego, CA: Coronado Biotech; Seawall
  Oakland, CA: Lakeshore Foods; Redwater Systems
  Irvine, CA: Chromex; Orangewood Medical
  Fresno, CA: Valleygold
  Long Beach, CA: Breakwater Shipping
  Palo Alto, CA: Cypherline; Inference Labs
  Seattle, WA: Cascadian; Emeraldine; Rainier Cloud; Soundwave; Evergreen Coffee
  Spokane, WA: Inlander
  Denver, CO: Alpenglow; Milehigh Energy; Summit Cable; Mountaineer Mining
  Boulder, CO: Flatiron Instruments
  Phoenix, AZ: Cactus Freight; Heliodyne; Saguaro Group
  Tucson, AZ: Sonoran Optics
  Dallas, TX: Lonestar; Petrovale; Trinity Telecom; Westfork Industries; Roundup Restaurants
  Houston, TX: Bayouline; Derrick Petroleum; Gulfstar; Magnolia Chemical; Spacewell; Wellhead Services
  Austin, TX: Batwing; Hillcountry Semiconductors; Violetcrown
  San Antonio, TX: Alamo Mutual; Missionbell
  Fort Worth, TX: Stockyard Foods; Panther Aviation
  Plano, TX: Bluebonnet; Legacy Outfitters
  Chicago, IL: Lakefront; Loopworks; Prairie Grain; Stockpot; Wabash Industries; Windward Bank; Tollway Trucking
  Peoria, IL: Caterham
  Boston, MA: Beaconsfield; Charter Harbor; Fenway Financial; Minuteman; Revere Shoes; Commonwealth Robotics
  Cambridge, MA: Genomica; Kendallson
  Worcester, MA: Blackstone Tools
  Atlanta, GA: Dogwood Homes; Peachtree Logistics; Firebird Paper; Terminus Networks; Deltaplane Airways
  Savannah, GA: Lowcountry
  Miami, FL: Biscayne Cruises; Flaminga
  Tampa, FL: Gasparilla Cruises
  Orlando, FL: Citrusland; Wonderway Resorts
  Jacksonville, FL: Timucuan Railways
  Detroit, MI: Ambassador Motors; Motorline; Strait Shipping
  Grand Rapids, MI: Furnishwell
  Minneapolis, MN: Loring Medical; Millstream; Northstar Retail; Skyway; Lakeland Thermostats
  Saint Paul, MN: Capitoline
  Rochester, MN: Clinicore
  Philadelphia, PA: Bellfounders; Cheesecloth; Keystone Cable; Schuylkill; Brotherly Uniforms
  Pittsburgh, PA: Allegheny Steelworks; Confluent Health; Threerivers
  Cleveland, OH: Cuyahoga; Forestcity; Erieline Paints
  Columbus, OH: Arborview; Buckeye Insurance
  Cincinnati, OH: Queensgate; Soapstone; Sevenhills Grocers; Household Soap
  Akron, OH: Vulcan Tire
  Toledo, OH: Glasswright
  Indianapolis, IN: Circlecity; Hoosier Health
  Milwaukee, WI: Brewmaster; Creamline Foods; Hogback Engines
  Madison, WI: Mendota Health
  Saint Louis, MO: Archway Homes; Clydesdale Brewing; Gateway Seeds
  Kansas City, MO: Fountainhead; Barbecue Kings
  Omaha, NE: Corncrake; Platte Railroad
  Nashville, TN: Honkytonk; Musicrow Healthcare
  Memphis, TN: Bluffcity; Overnight Express
  Charlotte, NC: Dominion Bank; Queencity
  Durham, NC: Bullseye Biologics
  Baltimore, MD: Chesapeake Sportswear; Oriolus
  Richmond, VA: Jamestown Tobacco; Shockoe
  Louisville, KY: Bourbonne; Derbyshire Foods
  Las Vegas, NV: Neonlight; Oasis Casinos
  Reno, NV: Silverlode
  Providence, RI: Textura
  Hartford, CT: Aetherly; Charteroak Insurance
  Stamford, CT: Longridge
  Tulsa, OK: Drillwell Services
  Boise, ID: Potlatch Memory
  Redmond, WA: Microvale
  Bellevue, WA: Overlake Trucks; Smartlot
  Everett, WA: Jetliner
  Kirkland, WA: Bulkhouse
  Cupertino, CA: Orchardine
  Mountain View, CA: Searchlight Systems
  Sunnyvale, CA: Networx
  Menlo Park, CA: Socialite
  Santa Clara, CA: Graphene; Transistor Works
  Burbank, CA: Cartoonery
  Culver City, CA: Moviola Pictures
  Thousand Oaks, CA: Proteinase
  Foster City, CA: Antivira
  El Segundo, CA: Toymaker
  Newport Beach, CA: Pacific Bonds
  San Mateo, CA: Questionnaire
  Tempe, AZ: Solarity Energy
  Golden, CO: Rockies Brewing
  Englewood, CO: Satellink
  Broomfield, CO: Tinplate
  Irving, TX: Hydrocarbon; Paperhouse
  Round Rock, TX: Laptopia
  The Woodlands, TX: Anadrill
  Frisco, TX: Gridiron Sports
  Midland, TX: Permian Wells
  Deerfield, IL: Apothecary; Baxterly
  Oak Brook, IL: Burgerhaus
  Northbrook, IL: Goodhands
  Moline, IL: Tractor Union
  Lake Forest, IL: Gearbox Industries; Harvester Foods
  Schaumburg, IL: Radioworks
  Waltham, MA: Precision Microscopes
  Framingham, MA: Bargain Barn; Stapler
  Marlborough, MA: Catheter Systems
  Natick, MA: Matrixlab
  Norwalk, CT: Bookings Online
  Greenwich, CT: Hedgerow Advisors
  Danbury, CT: Industrial Gases
  New Brunswick, NJ: Bandage Brothers
  Camden, NJ: Soupworks
  Parsippany, NJ: Innkeeper; Rentway
  Jersey City, NJ: Dataquote
  Princeton Junction, NJ: Medley Records
  Purchase, NY: Cardmaster; Colabrand
  Armonk, NY: Tabulating Systems
  Corning, NY: Ceramica
  White Plains, NY: Dispatch Marine
  Bethesda, MD: Defense Dynamics; Hotelier
  Hunt Valley, MD: Spicemill
  Reston, VA: Beltway Consulting; Wireframe
  McLean, VA: Candybar; Mortgageway
  Herndon, VA: Airspan Networks
  Cary, NC: Statwright
  Mooresville, NC: Lumberyard
  Winston Salem, NC: Doughnut House
  Spartanburg, SC: Dinerland
  Duluth, GA: Combine Tractors
  Columbus, GA: Mallard Insurance
  Coral Gables, FL: Freshfruit
  Juno Beach, FL: Turbine Power
  Dearborn, MI: Assembly Motors
  Midland, MI: Polymer Industries
  Battle Creek, MI: Breakfast Cereals
  Benton Harbor, MI: Washtub
  Bentonville, AR: Everymart
  Springdale, AR: Chickenhouse
  Hershey, PA: Chocolatier
  Rosemont, IL: Cartonboard Packaging
`);

const COMPANIES = COMPANIES_BY_SEAT.flatMap((line) => {
  const [seat = '', companies = ''] = line.split(': ');
  return companies.split('; ').map((company) => ({ company, seat }));
});

/** 263 employers. */
export const EMPLOYERS: readonly string[] = COMPANIES.map(({ company }) => company);

/** The city of each employer, in the order of `EMPLOYERS`. */
export const SEATS: readonly string[] = COMPANIES.map(({ seat }) => seat);
