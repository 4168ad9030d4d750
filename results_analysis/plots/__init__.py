"""Pictures of a search, one a file: a pure function makes the numbers of a `Snapshot`, another draws them with plotly.

The page shows the numbers below each picture too. Colours are Okabe and Ito's, which people with any colour vision tell apart
and which hold on light and on dark ground; what a colour says is also said by a shape, a dash or a word.
"""
