"""The text of `python -m pairft.explain` in French; see english.py."""

THIN = "\u202f"  # a narrow no-break space


def unbreakable(text: str) -> str:
    """With no-break spaces where French has them."""
    for mark in (" :", " ;", " ?", " !", " %", " »"):
        text = text.replace(mark, "\xa0" + mark[1:])
    return text.replace("« ", "«\xa0")


WRITTEN = {
    "thousands": THIN,
    "and": " et ",
    "title": "Une paire de phrases, un pas d'entraînement",
    "intro": """\
Modèle : {model} ({weights}). Étiquette (label) : « {label} »{default}, parmi {classes}.
Sans dropout, pour pouvoir tout recalculer. À droite : la ligne de code.""",
    "default": " (voir --label)",
    "new": "nouvelle tête (head), graine (seed) {seed}",
    "kept": "avec sa propre tête (head)",
    "text": "Le texte",
    "text.lines": """\
A  {first}
B  {second}""",
    "tokens": "Les jetons (tokens)",
    "tokens.lines": """\
Le tokeniseur en tire {count} jetons (vocabulaire : {vocabulary}) ; le modèle n'en voit que le numéro (id).
{table}""",
    "segments": "Le segment (token_type_ids) distingue la phrase A (0) de la phrase B (1).",
    "no segments": "Ce modèle n'a pas de segments (token_type_ids) ; seul le séparateur distingue A de B.",
    "token": "jeton",
    "id": "id",
    "segment": "segment",
    "special": "Les jetons spéciaux",
    "special.lines": "Le tokeniseur ajoute {special}, qui comptent mais ne sont jamais coupés.{unknown}",
    "unknown": " {unk} remplace ce qui manque au vocabulaire ({number} ici).",
    "truncation": "La troncature (truncation)",
    "truncation.lines": """\
Il reste {count} jetons sur {whole} (--max-length {limit}). À partir de la fin de la phrase la plus longue, {number} \
sont coupés : {cut}""",
    "fits.lines": "Inutile ici : {count} jetons, {limit} au plus.",
    "trial": "--max-length {trial} couperait : {cut}",
    "padded": "Un lot (batch) avec remplissage (padding)",
    "padded.lines": """\
Dans un lot avec la paire {companion}, la plus courte est complétée par {pad} (id {pad_id}). Le masque d'attention \
(attention mask) y vaut 0 : aucun jeton ne regarde le remplissage.
{table}""",
    "ids of": "ids {number}",
    "mask of": "masque {number}",
    "packed": "Le même lot, sans remplissage (packed)",
    "packed.lines": """\
Les deux paires sur une ligne. Les positions repartent du début à chaque paire ; cu_seqlens {cu_seqlens} \
dit où chacune commence et finit : aucune ne voit l'autre.
{table}
{slots} cases au lieu de {padded_slots} : {saved} ({share} %) économisées.""",
    "logits": "Les logits et les probabilités",
    "logits.lines": """\
Des réels quelconques. Softmax : exp(logit − le plus grand), divisé par la somme, {total}
(Soustraire le plus grand ne change pas le résultat et évite un dépassement.)
{table}""",
    "logit": "logit",
    "probability": "divisé",
    "loss": "Perte (loss), entropie croisée (cross entropy)",
    "loss.lines": """\
−ln(probabilité de « {label} ») = −ln({probability}) = {loss}
torch : {torch_loss}, écart {difference}""",
    "gradient": "Le gradient d'un poids",
    "gradient.lines": """\
Le poids w = {name} = {weight} multiplie {read}, lu par la tête, dans le logit de « {label} » \
(gradient maximal).
À la main : (probabilité − 1) × valeur = ({probability} − 1) × {read} = {by_hand}
Par backward() : {gradient}, écart {difference}
Par différence finie (w un peu augmenté, puis un peu diminué) : {slope}""",
    "clipping": "L'écrêtage du gradient (gradient clipping)",
    "clipping.lines": """\
Le gradient des {weights} poids a pour norme {norm} ; --max-grad-norm vaut {limit}.
Chaque gradient est multiplié par min(1, {limit} / norme) = {factor} ; norme ensuite : {after}
Pour w : g = {clipped}, à la main {by_hand}, écart {difference}""",
    "adamw": "AdamW",
    "adamw.lines": """\
Premier moment : m = {beta1} × 0 + {rest1} × g = {m}, torch {torch_m}, écart {m_difference}
Second moment : v = {beta2} × 0 + {rest2} × g² = {v}, torch {torch_v}, écart {v_difference}
Correction du biais : m' = m / (1 − {beta1}^1) = {m_corrected}, v' = v / (1 − {beta2}^1) = {v_corrected}
Taux d'apprentissage (learning rate) : lr = {lr}
Décroissance des poids (weight decay), découplée : w × (1 − lr × {decay}) = {decayed}
Nouveau poids : ce nombre − lr × m' / (√v' + {eps}) = {new}
optimizer.step() : {torch_new}, écart {difference} (entre float32 voisins : {spacing})""",
    "after": "Après le pas",
    "after.lines": """\
Perte : {loss} → {loss_after}. Probabilité de « {label} » : {probability} → {probability_after}.
Au pas 1, m' / √v' = ±1 : w bouge de lr, quel que soit g. Ensuite, lr décroît jusqu'à 0.""",
}
TEXT = {name: unbreakable(text) for name, text in WRITTEN.items()}
