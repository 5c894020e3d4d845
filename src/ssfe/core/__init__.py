"""The method, in torch and the standard library alone: what `import ssfe` offers is made here."""
