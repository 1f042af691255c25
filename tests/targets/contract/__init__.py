"""The promises of `flytelineage.targets.Target`, held on every target and in every mode.

`place.Place` is a catalogue that can be looked at, made to misbehave and emptied; there is
one for each way of telling one. The tests know nothing else of targets.
"""
