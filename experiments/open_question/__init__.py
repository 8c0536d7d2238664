"""The poster's open question: does a prior matched to a feature find it?"""
