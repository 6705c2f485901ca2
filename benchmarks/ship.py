"""Packs a trained run as the detector that comes with the package, with all that its card says.

    python -m tfforensics.train --config configs/portraits_selfblend.yaml \\
        --demo.portraits PORTRAITS --workdir runs/selfblend-lite0
    python benchmarks/ship.py runs/selfblend-lite0 --portraits PORTRAITS

The weights are rounded first and evaluated then, at every level and by group of people, so that
the card's figures are those of what is shipped. PORTRAITS/portraits.csv says of each photograph
the sex, the age and the country of who is seen, as its makers do.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
from pathlib import Path

from tfforensics import command, packed, shipped
from tfforensics.command import DataError
from tfforensics.demo.folder import faces
from tfforensics.jpeg import LEVELS
from tfforensics.run import Run

# United Nations, Standard country or area codes for statistical use (M49): the macro regions of
# the countries that the portraits' makers name.
REGIONS = {
    "Africa": "Angola Benin Botswana Comoros Cote_d'Ivoire Democratic_Republic_of_the_Congo "
    "Djibouti Egypt Eswatini Gabon Gambia Malawi Mauritania Mayotte Mozambique Namibia Rwanda "
    "Saint_Helena Senegal Seychelles South_Sudan Tanzania Zimbabwe",
    "Americas": "Argentina Bahamas Bermuda Bolivia Bouvet_Island Canada Dominica Guyana Haiti "
    "Jamaica Nicaragua Panama Paraguay Peru Puerto_Rico Saint_Pierre_and_Miquelon Sint_Maarten "
    "Trinidad_and_Tobago Turks_and_Caicos_Islands",
    "Asia": "Brunei_Darussalam Indonesia Israel Japan Kuwait Kyrgyz_Republic "
    "Lao_People's_Democratic_Republic Mongolia Nepal Oman Pakistan Palestine Qatar Saudi_Arabia "
    "Thailand Uzbekistan Yemen",
    "Europe": "Aland_Islands Bulgaria Faroe_Islands France Hungary Iceland Isle_of_Man Malta "
    "Monaco Montenegro Netherlands Norway Poland San_Marino Serbia Slovakia United_Kingdom",
    "Oceania": "Cocos_(Keeling)_Islands Fiji Heard_Island_and_McDonald_Islands Marshall_Islands "
    "Nauru New_Zealand Norfolk_Island Pitcairn_Islands Vanuatu",
}
AGES = ((0, 29, "under 30"), (30, 44, "30 to 44"), (45, 200, "45 and above"))


def people(run: Run, portraits: Path) -> str:
    """Who of the run's clips belongs to which group, as `tfforensics.groups` reads it."""
    demo = run.config().demo
    identities = {"train": demo.train, "val": demo.val, "test": demo.test}
    with (portraits / "portraits.csv").open(newline="") as file:
        about = {row["file"]: row for row in csv.DictReader(file)}
    region_of = {
        country.replace("_", " "): region
        for region, countries in REGIONS.items()
        for country in countries.split()
    }
    lines = ["person,sex,age,region"]
    for pair in faces(identities, portraits):
        for face in pair:
            assert face.photograph is not None
            row = about[face.photograph.relative_to(portraits).as_posix()]
            band = next(name for low, high, name in AGES if low <= int(row["age"]) <= high)
            if row["country"] not in region_of:
                raise DataError(f"{row['country']}: no region is known")
            lines.append(f"{face.number},{row['sex']},{band},{region_of[row['country']]}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--portraits", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=shipped.FOLDER)
    options = parser.parse_args()
    command.start_tensorflow()
    from tfforensics.evaluate import evaluate
    from tfforensics.groups import People

    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "people.csv"
        listed.write_text(people(Run(options.run), options.portraits))
        rounded = packed.pack(Run(options.run), Path(folder) / shipped.FOLDER.name)
        evaluate(rounded, levels=LEVELS, people=People.read(listed))
        if options.out.exists():
            shutil.rmtree(options.out)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        packed.pack(rounded, options.out)
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
