#!/bin/sh
# make-chr20.sh - how tests/data/chr20-eur-b37 was made of the larger set; needs bcftools, zcat.
#     make-chr20.sh DIR-WITH-ref.bcf,target.array.unphased.vcf.gz,truth.unphased.vcf.gz chr20.b37.gmap.gz OUT
set -eu
in=$1 map=$2 out=$3
small() { # VCF text of $1 with a short header, no INFO, GT only
    bcftools annotate --no-version -x INFO,QUAL,^FORMAT/GT "$1" |
        awk '/^##fileformat/ || /^##FORMAT=<ID=GT/ || /^##contig=<ID=20[,>]/ || /^##FILTER=<ID=PASS/ || !/^##/'
}
small "$in/ref.bcf" | bcftools view --no-version -Ou | bgzip -l 9 -c > "$out/ref.bcf"
for t in target.array.unphased truth.unphased; do
    small "$in/$t.vcf.gz" | bgzip -l 9 -c > "$out/$t.vcf.gz"
done
# the map around the region
zcat "$map" | awk 'NR == 1 || $1 < 6000000' | gzip -9n > "$out/chr20.b37.gmap.gz"
