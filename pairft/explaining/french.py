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
Sans dropout, pour que chacun puisse refaire les calculs. À droite : la ligne de code qui agit.""",
    "default": " (--label en choisit une autre)",
    "new": "nouvelle tête, graine {seed}",
    "kept": "avec sa propre tête",
    "text": "Le texte",
    "text.lines": """\
A  {first}
B  {second}""",
    "tokens": "Les jetons (tokens)",
    "tokens.lines": """\
Le tokeniseur découpe A et B en {count} jetons d'un vocabulaire de {vocabulary}. Le modèle ne voit que leurs numéros.
{table}""",
    "segments": "Le segment (token_type_ids) distingue la phrase A (0) de la phrase B (1).",
    "no segments": "Ce modèle n'a pas de segments (token_type_ids) ; seul le séparateur distingue A de B.",
    "token": "jeton",
    "id": "numéro",
    "segment": "segment",
    "special": "Les jetons spéciaux",
    "special.lines": "Le tokeniseur ajoute {special}. Ils prennent de la place et ne sont jamais coupés.{unknown}",
    "unknown": " {unk} remplace ce qui manque au vocabulaire : ici {number} fois.",
    "truncation": "La troncature (truncation)",
    "truncation.lines": """\
Il reste {count} jetons sur {whole} (--max-length {limit}). À partir de la fin de la phrase la plus longue, {number} \
sont coupés : {cut}""",
    "fits.lines": "Inutile ici : {count} jetons, {limit} au plus.",
    "trial": "--max-length {trial} couperait : {cut}",
    "padded": "Un lot (batch) avec remplissage (padding)",
    "padded.lines": """\
Dans un lot avec la paire {companion}, la plus courte est complétée par {pad} (numéro {pad_id}). Le masque d'attention \
y vaut 0 : aucun jeton ne regarde le remplissage.
{table}""",
    "ids of": "numéros {number}",
    "mask of": "masque {number}",
    "packed": "Le même lot, sans remplissage (packed)",
    "packed.lines": """\
Les deux paires sur une ligne. Les positions repartent à chaque paire ; cu_seqlens {cu_seqlens} dit où chacune \
commence et finit : aucune ne voit l'autre.
{table}
{slots} cases au lieu de {padded_slots} : {saved} ({share} %) économisées.""",
    "logits": "Les logits et les probabilités",
    "logits.lines": """\
Les logits sont des réels quelconques. Softmax : exp(logit − plus grand logit), divisé par la somme, {total}
{table}""",
    "logit": "logit",
    "probability": "divisé",
    "loss": "La perte (loss)",
    "loss.lines": """\
Entropie croisée (cross entropy) : −log(probabilité de « {label} ») = −log({probability}) = {loss}
torch : {torch_loss}, écart {difference}""",
    "gradient": "Le gradient d'un poids",
    "gradient.lines": """\
w = {name} = {weight} multiplie {read}, une valeur lue par la tête, dans le logit de « {label} ».
À la main : (probabilité − 1) × valeur = ({probability} − 1) × {read} = {by_hand}
Par backward() : {gradient}, écart {difference}
Par différence finie (w un peu augmenté, puis un peu diminué) : {slope}""",
    "clipping": "L'écrêtage du gradient (gradient clipping)",
    "clipping.lines": """\
Le gradient des {weights} poids a pour norme {norm} ; --max-grad-norm vaut {limit}.
Chaque gradient est multiplié par min(1, {limit} / norme) = {factor} ; la norme est alors {after}.
Celui de w : g = {clipped}, à la main {by_hand}, écart {difference}""",
    "adamw": "AdamW",
    "adamw.lines": """\
Premier moment : m = {beta1} × 0 + {rest1} × g = {m}, torch {torch_m}, écart {m_difference}
Second moment :  v = {beta2} × 0 + {rest2} × g² = {v}, torch {torch_v}, écart {v_difference}
Correction du biais : m' = m / (1 − {beta1}^1) = {m_corrected}, v' = v / (1 − {beta2}^1) = {v_corrected}
Taux d'apprentissage (learning rate) : lr = {lr}
Décroissance des poids (weight decay), hors gradient : w × (1 − lr × {decay}) = {decayed}
Nouveau poids : ce nombre − lr × m' / (√v' + {eps}) = {new}
optimizer.step() : {torch_new}, écart {difference} (pas de float32 ici : {spacing})""",
    "after": "Après le pas",
    "after.lines": """\
Perte : {loss} → {loss_after}. Probabilité de « {label} » : {probability} → {probability_after}.
Au pas 1, m' / √v' vaut +1 ou −1 : w bouge de lr, quelle que soit la taille de g. lr décroît ensuite jusqu'à 0.""",
}
TEXT = {name: unbreakable(text) for name, text in WRITTEN.items()}
