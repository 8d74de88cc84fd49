"""What customers write, in several languages."""

from typing import Final

SPOKEN: Final = {
    "en": [
        "Where is my parcel? I have been waiting for a week.",
        "Please cancel my contract by the end of the month.",
        "The film was great and I would watch it again.",
        "My card was charged twice for the same order.",
    ],
    "de": [
        "Wo ist mein Paket? Ich warte schon seit einer Woche.",
        "Bitte kündigen Sie meinen Vertrag zum Monatsende.",
        "Der Film war großartig, ich würde ihn wieder ansehen.",
        "Meine Karte wurde für dieselbe Bestellung zweimal belastet.",
    ],
    "it": [
        "Dov'è il mio pacco? Aspetto da una settimana.",
        "Vi prego di disdire il mio contratto a fine mese.",
        "Il film era bellissimo e lo rivedrei volentieri.",
        "La mia carta è stata addebitata due volte.",
    ],
    "nl": [
        "Waar is mijn pakket? Ik wacht al een week.",
        "Zeg mijn contract op voor het einde van de maand.",
        "De film was geweldig en ik zou hem weer kijken.",
        "Mijn kaart is twee keer belast voor dezelfde bestelling.",
    ],
    "tr": [
        "Kargom nerede? Bir haftadır bekliyorum.",
        "Lütfen sözleşmemi ay sonunda iptal edin.",
        "Film harikaydı, tekrar izlerdim.",
        "Kartımdan iki kez para çekildi.",
    ],
}
