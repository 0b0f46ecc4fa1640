"""What `check_template` checks of a judge's prompt template, in CEL."""

from assay_api.crd.rule import Rule


def template_rules(frames: str, textual: str = "") -> tuple[Rule, ...]:
    """Return the rules of a judge's template.

    Args:
        frames: the field that counts its images.
        textual: CEL expression, true where it is shown none whatever that field says.
    """
    unset, field = "!has(self.promptTemplate)", ".promptTemplate"
    shown = f"{textual} || " if textual else ""
    return (
        Rule(
            f"{unset} || self.promptTemplate.split('{{reasoning}}').size() == 2",
            "promptTemplate must hold {reasoning} exactly once: it is what is judged",
            field=field,
        ),
        Rule(
            f"{unset} || self.promptTemplate.split('{{images}}').size() <= 2",
            "promptTemplate must hold {images} at most once",
            field=field,
        ),
        Rule(
            f"{unset} || {shown}self.{frames} == 0 || self.promptTemplate.contains('{{images}}')",
            f"promptTemplate has no {{images}}: say where the images stand, or set {frames}: 0 for "
            "a judge that reads text only",
            field=field,
        ),
    )
