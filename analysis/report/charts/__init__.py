"""Charts as SVG text that light, dark, print and no-script pages share: scales, marks, labels, and cards around them.

No charts of a subject and no access to tables: functions of numbers and text, coloured by classes of the page's style.
"""
